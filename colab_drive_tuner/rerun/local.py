"""Running a notebook once, top to bottom, in a real kernel of this machine."""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import ColabDriveTunerError, MissingExtraError
from colab_drive_tuner.journal.folder import find_folder
from colab_drive_tuner.store.protocol import Store

RUNS = "runs"


class NotebookRunError(ColabDriveTunerError, RuntimeError):
    """A cell of the notebook raised; the message holds its traceback."""


def run_locally(
    notebook: Path, store: Store, search: str, parameters: Mapping[str, Any] | None = None
) -> None:
    """Run `notebook` with papermill; the executed copy goes to the search's `runs/`.

    Raises `NotebookRunError` where a cell raised, after the copy with its traceback was kept.
    """
    try:
        import papermill
        from papermill.exceptions import PapermillExecutionError
    except ImportError as error:
        raise MissingExtraError(
            "Running a notebook needs papermill: pip install 'colab-drive-tuner[rerun]'."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / "executed.ipynb"
        try:
            papermill.execute_notebook(
                str(notebook), str(executed), dict(parameters or {}), progress_bar=False
            )
        except PapermillExecutionError as error:
            raise NotebookRunError(
                f"Cell {error.exec_count} of {notebook} raised {error.ename}: {error.evalue}\n"
                + "\n".join(error.traceback)
            ) from error
        finally:
            if executed.exists():
                keep_run(store, search, executed)


def keep_run(store: Store, search: str, executed: Path) -> None:
    """Keep an executed notebook in the search's `runs/`, named by the time it ended."""
    folder = find_folder(store, search)
    if folder is None:
        return  # the notebook raised before its search began: there is nothing to keep it with
    found = [entry for entry in store.list(folder.id, name=RUNS) if entry.is_folder]
    runs, entry_id = store.reserve(2)
    if found:
        runs = found[0].id
    else:
        store.create(runs, None, name=RUNS, parent=folder.id)
    name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.ipynb"
    store.create(entry_id, executed, name=name, parent=runs)
