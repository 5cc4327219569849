"""An install on Colab adds this package and changes no package of Colab's image.

`constraints.txt` lists the versions of the image's packages (Python 3.13).
"""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import PROXY_VARIABLES

ROOT = Path(__file__).parents[2]
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = PROJECT["dependencies"]
EMULATOR = PROJECT["optional-dependencies"]["emulator"]

NO_REGISTRY = ("from versions: none", "connection broken", "Failed to establish", "Max retries")

PROXIES = {name: value for name, value in os.environ.items() if name.lower() in PROXY_VARIABLES}
"""The variables by which pip reaches a registry; each test begins without them."""


def image() -> dict[str, str]:
    """Return the version of each package of the image, by its canonical name."""
    lines = CONSTRAINTS.read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("text", [*CORE, *EMULATOR])
def test_dependencies_are_in_the_image(text: str) -> None:
    """Each dependency is satisfied by the version in the image."""
    asked = Requirement(text)
    there = image().get(canonicalize_name(asked.name))
    assert there is not None, f"{asked.name} is not in the image: make it an extra"
    assert asked.specifier.contains(there), f"{asked} would replace {asked.name} {there}"


@pytest.mark.parametrize("asked", [CORE, CORE + EMULATOR], ids=["core", "emulator"])
def test_transitive_dependencies_are_in_the_image(asked: list[str], tmp_path: Path) -> None:
    """pip, limited to the image's versions, needs no package outside the image."""
    if int(version("pip").split(".")[0]) < 23:
        pytest.skip("this pip cannot resolve without installing")
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", report]
    command += ["--ignore-installed", "--target", tmp_path / "nowhere", "--no-input"]
    command += ["--python-version", "3.13", "--implementation", "cp", "--only-binary=:all:"]
    command += ["--retries", "0", "--constraint", CONSTRAINTS, *asked]
    environment = os.environ | PROXIES
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and any(sign in done.stderr for sign in NO_REGISTRY):
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    chosen = {
        canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"]
        for item in json.loads(report.read_text())["install"]
    }
    assert chosen.keys() >= {canonicalize_name(Requirement(text).name) for text in asked}
    assert chosen.items() <= image().items()
