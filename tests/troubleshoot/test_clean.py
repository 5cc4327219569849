"""`clean` in a working directory: stale notebook copies, and files left by hyperas."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from colab_drive_tuner.errors import NotebookWarning, NotFoundError, StoreError, UsageError
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.notebook.find import Notebook
from colab_drive_tuner.notebook.local_copy import write_copy
from colab_drive_tuner.troubleshoot import clean
from colab_drive_tuner.troubleshoot.clean import (
    _is_named_like_copy,
    describe,
    find_leftovers,
    local_leftovers,
    remove,
)
from colab_drive_tuner.troubleshoot.clean.removal import move_to_trash
from colab_drive_tuner.troubleshoot.doctor import context
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("bare_machine")

MODEL = '''def model(x_train, y_train):
    """Train with {{uniform(0, 1)}}."""
    import json
    layers = {{choice([
        1, 2])}}
    return {'loss': layers * {{uniform(0, 1)}}, 'status': STATUS_OK}
'''
DATA = "def data():\n    x, y = [1], [2]\n    return x, y\n"


def written_by_hyperas(imports="import json\nfrom os import path as p\n", model=MODEL):
    """Return the module that hyperas's own functions generate for these sources."""
    from hyperas import utils

    source = utils.remove_imports(model)
    # The rest of hyperas cannot be imported with Keras 3; this is the result of
    # `optim.get_hyperopt_space` and `optim.hyperopt_keras_model` for MODEL.
    space = (
        "def get_space():\n    return {\n"
        "        'layers': hp.choice('layers', [\n        1, 2]),\n"
        "        'layers_1': hp.uniform('layers_1', 0, 1),\n    }\n"
    )
    body = source.partition("\n")[2]
    function = "def keras_fmin_fnct(space):\n\n" + body
    return utils.temp_string(
        utils.extract_imports(imports, verbose=False), function, "x, y = [1], [2]\n\n", "", space
    )


def ended_process():
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def copy_of_an_older_run(name="quickstart.ipynb"):
    """Create a notebook copy that the package downloaded for a process that has ended."""
    path = Path(name).absolute()
    write_copy(path, b'{"cells": []}', "id")
    (mark_file,) = (
        file
        for file in (state_folder() / "notebook-copies").iterdir()
        if json.loads(file.read_text())["path"] == str(path)
    )
    mark = json.loads(mark_file.read_text())
    mark_file.write_text(json.dumps({**mark, "pid": ended_process(), "started": "1"}))
    return path


def names(leftovers):
    """Return the names of the leftovers."""
    return [Path(leftover.where).name for leftover in leftovers]


def test_the_copy_of_an_older_run_is_listed_and_goes_only_with_yes():
    """With `yes=True` the copy is moved to where it can be restored, not deleted."""
    path = copy_of_an_older_run()
    found = find_leftovers()
    assert names(found) == ["quickstart.ipynb"]
    assert remove(found) == {}
    assert path.exists()
    kept_at = remove(found, yes=True)
    (kept,) = kept_at.values()
    assert not path.exists()
    assert Path(kept).read_bytes() == b'{"cells": []}'
    assert "removed with --yes" in describe(found)
    assert "removed with yes=True" in describe(found, in_python=True)
    assert kept in describe(found, kept_at)
    assert find_leftovers() == []


@pytest.mark.parametrize("step", ["discard", "still_stale"])
def test_a_leftover_that_cannot_be_moved_does_not_keep_the_others(tmp_path, step):
    """The others are moved, and then its error is raised."""
    paths = [copy_of_an_older_run("a.ipynb"), copy_of_an_older_run("b.ipynb")]
    first, second = find_leftovers()
    stuck = replace(first, **{step: partial(move_to_trash, tmp_path / "missing")})
    with pytest.raises(StoreError, match="missing cannot be moved away"):
        remove([stuck, second], yes=True)
    assert [path.exists() for path in paths].count(True) == 1
    assert Path(first.id).exists()


def test_a_copy_that_a_live_process_uses_is_not_listed():
    """A copy of a live process, which hyperas may read at any moment, is not listed."""
    write_copy(Path("quickstart.ipynb").absolute(), b'{"cells": []}', "id")
    assert find_leftovers() == []


def test_the_copy_of_the_running_notebook_is_never_listed(monkeypatch):
    """The session's notebook, and one that a Jupyter server has open, are not listed."""
    path = copy_of_an_older_run()
    assert find_leftovers(notebook=Notebook("quickstart")) == []
    monkeypatch.setattr(local_leftovers, "open_notebook_paths", lambda: {path})
    assert find_leftovers() == []


def test_an_edited_copy_is_not_removed():
    """A copy that was edited, even after it was listed, is the user's."""
    path = copy_of_an_older_run()
    found = find_leftovers()
    path.write_bytes(b'{"cells": [1]}')
    assert remove(found, yes=True) == {}
    assert find_leftovers() == []
    assert path.read_bytes() == b'{"cells": [1]}'


def test_a_copy_that_another_process_took_meanwhile_stays():
    """A copy that a new run began to use after it was listed is not removed."""
    path = copy_of_an_older_run()
    found = find_leftovers()
    write_copy(path, b'{"cells": []}', "id")  # as setup() of that run does
    assert remove(found, yes=True) == {}
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *(("Copy of x.ipynb", True), ("Kopie van x.ipynb", True), ("x (1).ipynb", True)),
        *(("Copia de Copia de x", True), ("x.ipynb (2)", True), ("x.ipynb", True)),
        *(("xy.ipynb", False), ("x-cnn.ipynb", False), ("x (old).ipynb", False)),
    ],
)
def test_a_copy_in_drive_is_named_after_the_original_in_any_language(name, shown):
    """A copy has words before the original's name or a number after it, in any language."""
    assert _is_named_like_copy(name, "x.ipynb") is shown


def test_half_written_copies_of_dead_processes_are_listed():
    """Partial files of live processes, links and files of other names are not listed."""
    ended, digits = ended_process(), "0123456789abcdef"
    dead = Path(f".colab-drive-tuner-{ended}-{digits}.part")
    alive = Path(f".colab-drive-tuner-{os.getpid()}-{digits}.part")
    theirs = Path(f".colab-drive-tuner-{ended}-notes.part")
    for part in (dead, alive, theirs):
        part.write_bytes(b"{")
    linked = Path(f".colab-drive-tuner-{ended}-{digits[::-1]}.part")
    linked.symlink_to(theirs)
    assert names(find_leftovers()) == [dead.name]
    remove(find_leftovers(), yes=True)
    assert [part.exists() for part in (dead, alive, theirs, linked)] == [False, True, True, True]


def test_a_users_own_files_are_never_listed_whatever_their_names():
    """No file with a similar name is listed, and every byte stays."""
    theirs = {
        "quickstart.ipynb": b'{"cells": []}',
        "Copy of quickstart.ipynb": b'{"cells": []}',
        "quickstart (1).ipynb": b"{}",
        "temp_model.py": b"#coding=utf-8\n\nfrom hyperopt import fmin\n\ndef get_space():\n    ..",
        "temp_model.pyc": b"keras_fmin_fnct",
    }
    for name, content in theirs.items():
        Path(name).write_bytes(content)
    assert remove(find_leftovers(), yes=True) == {}
    assert {file.name: file.read_bytes() for file in Path().iterdir()} == theirs


def test_hyperas_files_are_known_by_their_content():
    """temp_model.py as hyperas 0.4.1 writes it is removed with its compiled cache."""
    Path("temp_model.py").write_text(written_by_hyperas(), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "compileall", "-q", "temp_model.py"], check=True)
    found = find_leftovers()
    assert [leftover.kind for leftover in found] == ["hyperas module", "hyperas cache"]
    assert len(remove(found, yes=True)) == 2
    assert not Path("temp_model.py").exists()
    assert list(Path("__pycache__").iterdir()) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text + "\nprint(get_space())\n",
        lambda text: "# mine\n" + text,
        lambda text: text.replace("from hyperopt import fmin, tpe", "from hyperopt import tpe"),
        lambda text: text.replace("def keras_fmin_fnct(space)", "def keras_fmin_fnct(space, x)"),
        lambda text: text.replace("    return {\n        'layers'", "    x = {\n        'layers'"),
        lambda text: "",
    ],
)
def test_a_temp_model_that_hyperas_did_not_write_is_the_users_and_so_is_its_cache(edit):
    """A temp_model.py that was edited is the user's, and so is its compiled cache."""
    path = Path("temp_model.py")
    path.write_text(written_by_hyperas(), encoding="utf-8")
    assert local_leftovers.is_written_by_hyperas(path)
    path.write_text(edit(written_by_hyperas()), encoding="utf-8")
    Path("__pycache__").mkdir()
    Path("__pycache__/temp_model.cpython-311.pyc").write_bytes(b"keras_fmin_fnct get_space")
    assert not local_leftovers.is_written_by_hyperas(path)
    assert find_leftovers() == []


def test_a_name_that_is_not_in_the_list_is_refused_before_anything_is_moved():
    """A mistyped name is refused, so that no part of the list is removed by mistake."""
    path = copy_of_an_older_run()
    with pytest.raises(UsageError, match="'/nowhere' is not a listed leftover"):
        remove(find_leftovers(), yes=True, named=["/nowhere"])
    assert path.exists()


def test_a_clean_directory_says_so():
    """Without leftovers the text says so, instead of showing an empty table."""
    assert describe(find_leftovers()) == "Nothing stale was found."


def test_a_drive_without_a_store_is_clean(drive_emulator):
    """A Drive without the default store is clean; a named store that is missing is an error."""
    assert find_leftovers() == []
    with pytest.raises(NotFoundError, match="no folder 'Typo' in the Google Drive of"):
        find_leftovers(store="drive:Typo")


def test_a_warning_of_a_library_is_no_failure(monkeypatch, tmp_path, run_command):
    """It is shown, and the command succeeds, because everything was listed."""

    def warn(store):
        warnings.simplefilter("always", UserWarning)
        warnings.warn("urllib3 doesn't match a supported version", UserWarning, stacklevel=1)
        return []

    monkeypatch.setattr(clean, "find_leftovers", warn)
    code, out, err = run_command("--store", tmp_path, "clean")
    assert (code, out) == (0, "Nothing stale was found.\n")
    assert "urllib3" in err


def test_without_a_state_folder_or_a_drive_that_answers_the_rest_is_listed(
    monkeypatch, tmp_path, run_command
):
    """What cannot be checked is a warning, and the other leftovers are listed."""
    Path("temp_model.py").write_text(written_by_hyperas(), encoding="utf-8")
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    with pytest.warns(NotebookWarning, match="Leftovers of searches are not listed"):
        found = find_leftovers(store=tmp_path / "store")
    assert names(found) == ["temp_model.py"]
    with pytest.raises(StoreError, match="cannot be moved away"):
        remove(found, yes=True)
    code, out, err = run_command("--store", tmp_path / "store", "clean")
    assert (code, "temp_model.py" in out) == (1, True)
    assert err.startswith("colab-drive-tuner: Leftovers of searches are not listed: ")
    monkeypatch.setattr(context, "PATIENCE", 0.1)
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.warns(NotebookWarning, match="did not answer"):
        found = find_leftovers()
    assert names(found) == ["temp_model.py"]
    assert Path("temp_model.py").exists()
