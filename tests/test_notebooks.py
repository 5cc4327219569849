"""The notebooks run from top to bottom in a real kernel and reproduce their stored outputs.

quickstart and hyperas are run, and killed, by tests/test_demo.py.
"""

import ast
import json
import re
import tomllib

import nbformat
import pytest

from tests.notebooks import FOLDER, ROOT, execute

NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
HERE = ("cluster", "half_trial", "hyperopt", "optuna", "scheduled", "seeing", "troubleshooting")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
VARYING = re.compile(
    r"'duration': [\d.e-]+|process \d+(?: on [\w.-]+)?|/folders/[\w-]+|/tmp/\S+|\d\.\d+|in [\d.]+ s"
    r"|[\d,]+ bytes|\d\d:\d\d UTC|hours of trials +\S+ +\S+"
)


def cells_of(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells


def shown(cells):
    """Return what the code cells show, without what differs from run to run."""
    outputs = [
        "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") + "\n")
        for cell in cells
        for output in cell.get("outputs", [])
        if output.get("name") != "stderr"
    ]
    # Colours differ too, because newer kernels request them.
    return VARYING.sub("...", COLOUR.sub("", "".join(outputs))).split()


@pytest.mark.parametrize("name", HERE)
def test_a_notebook_reproduces_its_stored_output(name, tmp_path, drive_emulator):
    """Run again, every cell succeeds and shows the output that is stored in the repository."""
    if name == "cluster":
        pytest.importorskip("distributed")
    again = execute(name, tmp_path, drive_emulator)
    assert not [
        o for cell in again.cells for o in cell.get("outputs", []) if o.output_type == "error"
    ]
    assert shown(again.cells) == shown(cells_of(name))


def test_half_trial_resumes_within_a_trial():
    """The outputs stored in half_trial.ipynb show that only epochs 4 to 6 were trained again."""
    kept = [" ".join(shown([cell])) for cell in cells_of("half_trial")]
    assert "[(1, 4), (1, 5), (1, 6)]" in kept
    assert "(True, 12)" in kept


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid(name):
    """A notebook is valid nbformat, and its cells without magics are valid Python."""
    text = (FOLDER / f"{name}.ipynb").read_text()
    nbformat.validate(json.loads(text))
    for cell in cells_of(name):
        if cell.cell_type == "code" and "%" not in cell.source[:2]:
            ast.parse(cell.source)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_begins_with_its_purpose(name):
    """A notebook's first cell has a heading and a paragraph."""
    first = cells_of(name)[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert len(first.source.split("\n\n")) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_badge_opens_the_notebook_in_colab(name):
    """The badge links to this file in Colab, in the repository that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"]["Repository"].removeprefix("https://github.com/")
    place = f"github/{repository}/blob/main/notebooks/{name}.ipynb"
    assert f"](https://colab.research.google.com/{place})" in cells_of(name)[0].source


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_name_no_local_path(name):
    """Stored outputs contain no path or address of the machine that ran them."""
    kept = json.dumps([cell.get("outputs", []) for cell in cells_of(name)])
    here = r"/work/|/home/|/tmp/(?!colab|ipykernel)|127\.0\.0\.1|site-packages|\.venv"
    assert not re.search(here, kept)
