"""Tracebacks, pdb and warnings in a notebook show the user's own cell and line."""

import re

import IPython
import pytest

from tests.kernel import run_cells

CELLS = [
    """import colab_drive_tuner as cdt, warnings
OFFSETS = [1, 2, 3]
def run(name='tb', **options):
    cdt.resume_search(name=name, max_evals=2, store='s', seed=1, progress=False, **options)""",
    "def data():\n    return [1, 2], 3\n",
    """def model(x, y):
    # what a comment holds is no template: {{choice([1])}}
    units = {{choice([5, 6])}}
    warnings.warn("these units are odd, or even")

    return {"loss": OFFSETS[{{choice([7, 8])}}] + units,  # here it fails
            "status": STATUS_OK}
""",
    "run(objective=model, data=data)",
    """import io, pdb, sys
output = io.StringIO()
debugger = pdb.Pdb(stdin=io.StringIO("p units\\nq\\n"), stdout=output, readrc=False)
debugger.use_rawinput = False
debugger.reset()
debugger.interaction(None, sys.last_traceback)
print(output.getvalue())""",
    "def model(x, y):\n    units = {{choice(sizes)}}\nrun(objective=model, data=data)",
    "%%time\ndef model(x, y):\n    units = {{choice([1, 2])}}\n    return units\n",
    "run(objective=model, data=data)",
    "def data():\n    return [1 / 0]\n",
    """def model(x):
    units = {{choice([1, 2])}}
    return {'loss': units, 'status': 'ok'}
run('other', objective=model, data=data)""",
    "import os\nos.environ['COLAB_DRIVE_TUNER_STORE'] = 's'\nsession = cdt.setup()",
    "session.remove('nowhere')",
    "session.restore('tb')",
    "cdt.open_store(3)",
    "cdt.DriveClient.connect('no file')",
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run the cells without Keras, which none of them needs; return what each one showed."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "lib" / "keras").mkdir(parents=True)
    (folder / "lib" / "keras" / "__init__.py").write_text('raise ImportError("no Keras here")\n')
    environment = {"PYTHONPATH": str(folder / "lib"), "XDG_STATE_HOME": str(folder / "state")}
    return run_cells(CELLS, folder, environment)


def test_a_traceback_ends_in_the_users_cell(shown):
    """The traceback marks the user's line as typed and shows the user's parameters.

    It has no frames of this package between the cell's call and that line.
    """
    text = shown[3]
    heading = r"^(?:Cell In\[3\], line 6, in|/\S+\.py in) model\(x, y\)$"  # IPython 9, or 7
    *_, last = re.split(heading, text, flags=re.MULTILINE)
    assert last != text
    assert '----> 6     return {"loss": OFFSETS[{{choice([7, 8])}}] + units,  # here it' in last
    error, _, hint = last.rpartition("IndexError: list index out of range")
    assert error
    assert not hint.strip() or "of search 'tb' raised this" in hint  # IPython 7 shows no notes
    assert "/colab_drive_tuner/" not in text
    assert "cdt_values" not in text


def test_a_warning_shows_the_line(shown):
    """A warning shows the line number and the text of the cell."""
    assert ':4: UserWarning: these units are odd, or even\n  warnings.warn("these' in shown[3]


def test_pdb_stops_in_the_users_cell(shown):
    """Post-mortem debugging shows the line, its surroundings and the values."""
    assert "(6)model()" in shown[4]
    assert "----> 6     return" in shown[4]
    assert any(f"{units}\n" in shown[4] for units in (5, 6))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (5, "{{choice(sizes)}}, line 2 of the cell that defines model(), cannot be evaluated"),
        (7, "source of model() cannot be read (its file is '<timed exec>')"),
        (7, "in a notebook cell without %%time"),
        (9, "----> 2     return [1 / 0]"),
    ],
)
def test_errors_before_training_name_cell_and_line(shown, cell, message):
    """An error before training says what is wrong, in which line, and what to change."""
    assert message in shown[cell]


@pytest.mark.parametrize("cell", [11, 12, 13, 14])
def test_an_error_of_any_public_name_shows_the_cell_and_the_message_alone(shown, cell):
    """No name has to see to it: the package's errors are shown without the package's frames."""
    assert f"----> 1 {CELLS[cell]}\n" in re.sub(r"\n+\Z", "\n", shown[cell])
    assert len(re.findall(r"^-+> ", shown[cell], re.MULTILINE)) == 1
    assert "/colab_drive_tuner/" not in shown[cell]
    assert re.search(r"^\w+Error: \S", shown[cell], re.MULTILINE)


@pytest.mark.skipif(IPython.version_info[0] < 9, reason="IPython 7 needs imp to reload modules")
def test_a_model_that_autoreload_has_reloaded_is_found(tmp_path):
    """IPython 9 compiles a changed function by itself, so its lines no longer say where it is."""
    before = """import time

def model(x):
    time.sleep(0)
    units = {{choice([1, 2])}}
    return {"loss": units + x, "status": "ok"}
"""
    after = before.replace("import time\n", "import time\n\n\n").replace("+ x", "+ 2 * x")
    run = "cdt.resume_search(models.model, name='s', max_evals={}, store='s', data=lambda: 1)"
    *_, shown = run_cells(
        [
            f"open('models.py', 'w').write({before!r})",
            "%load_ext autoreload\n%autoreload 2\nimport colab_drive_tuner as cdt\nimport models",
            run.format(1),
            f"import os\nopen('models.py', 'w').write({after!r})\nos.utime('models.py', (0, 2e9))",
            run.format(2),
        ],
        tmp_path,
        {"XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert "+     return {'loss': units + 2 * x, 'status': 'ok'}" in shown
    assert "2 of 2 trials, best loss" in shown
