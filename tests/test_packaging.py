"""The wheel and the sdist: complete, and the wheel works on its own."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from colab_drive_tuner import __version__

ROOT = Path(__file__).resolve().parents[1]
SEARCH = """
import colab_drive_tuner as cdt, hyperopt, sys
assert "/installed/" in cdt.__file__, cdt.__file__
def run(n):
    return cdt.resume_search(lambda x: x * x, space=hyperopt.hp.uniform("x", -1, 1), name="small",
                             max_evals=n, store="searches", progress=False)
assert len(run(3).trials) == 3 and len(run(5).trials) == 5
"""


def run(*command, **options):
    """Run a command and return its output; a failure shows it."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, built by `python -m build` with the packages installed here."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_the_package_and_nothing_else(built):
    """The wheel has every module, py.typed and the licence; no tests, notebooks or scripts."""
    wheel, _ = built
    assert wheel.name == f"colab_drive_tuner-{__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "colab_drive_tuner"
    wanted = {str(path.relative_to(ROOT)) for path in package.rglob("*.py")}
    assert wanted <= names
    assert "colab_drive_tuner/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"colab_drive_tuner"}


def test_the_sdist_can_be_read_and_tested(built):
    """The sdist has the metadata files, docs, tests and scripts, and no local environments."""
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "scripts/test"} <= names
    assert "tests/conftest.py" in names
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.*")} <= names
    assert not any(name.startswith((".venv", ".demo", "site/")) for name in names)


def test_twine_accepts_both(built):
    """`twine check --strict` accepts the metadata and the description of both."""
    run(sys.executable, "-m", "twine", "check", "--strict", *built)


def test_the_wheel_runs_a_search_without_extras(built, tmp_path):
    """Installed from the wheel alone, outside the repository, a search runs and resumes."""
    wheel, _ = built
    target = tmp_path / "installed"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", target, wheel)
    environment = os.environ | {"PYTHONPATH": str(target)}
    run(sys.executable, "-c", SEARCH, cwd=tmp_path, env=environment)
    output = run(
        sys.executable, "-m", "colab_drive_tuner", "--store", "searches", "status",
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert "small" in output


def test_all_versions_are_equal(built):
    """The wheel, the package and the changelog name the same version."""
    wheel, _ = built
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert wheel.name.split("-")[1] == __version__
