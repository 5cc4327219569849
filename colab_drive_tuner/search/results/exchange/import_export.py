"""Export of searches as pickles of hyperopt Trials or CSV; import of pickles, running no code."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import SearchNotFoundError, UsageError
from colab_drive_tuner.local_files import expand_user, replace_file
from colab_drive_tuner.search.results.exchange.keras_tuner_project import is_project, read_project
from colab_drive_tuner.search.results.optuna_studies import study_data
from colab_drive_tuner.search.results.read_search import open_journal, read_status
from colab_drive_tuner.search.results.table import Table, csv_text
from colab_drive_tuner.search.trials.attachments import TrialsExport, load_attachment
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store


def export_trials(store: Store | Path | str, name: str, path: str | Path) -> int:
    """Export a search as a plain pickle of `hyperopt.Trials`, or as a CSV table.

    The table has a row for each trial, with its parameters by label and choices as their indices.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.
        path: The file to write; an existing one is replaced. The suffix `.csv` selects a table.

    Returns:
        The number of trials in the file.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchFolderError: Two searches have that name.
        UsageError: The file cannot be written, its suffix belongs to another kind of file, or the
            search is an Optuna study, which can only be exported as CSV.
    """
    store = open_store(store)
    journal = open_journal(store, name)
    journal.require_single()
    history: History = journal.state
    kinds = "an export is a pickle (.pkl) or a table (.csv)"
    suffix = checked_suffix(path, (".csv", ".pkl", ".pickle"), kinds)
    count = len(history.trials)
    if history.study.lines:
        if suffix != ".csv":
            raise UsageError(
                f"{name!r} is an Optuna study, which a pickle of hyperopt Trials cannot hold: name "
                "a file that ends in .csv, or convert the study to a search by cdt.from_optuna."
            )
        data = study_data(name, history.study.lines, history.timeline)
        count = len(data.trials)
        content = csv_text(*data.table(data.trials)).encode(errors="backslashreplace")
    elif suffix == ".csv":
        content = Table([entry.decoded() for entry in history.trials.values()]).to_csv()
    else:
        loaded = {
            key: load_attachment(journal.read_file, key, value)
            for key, value in history.attachments.items()
        }
        content = TrialsExport()(history, loaded)
    write_file(path, content)
    return count


def checked_suffix(path: str | Path, known: Sequence[str], kinds: str) -> str:
    """Return a file's suffix, or "" without one; raise `UsageError` if it is not a known one."""
    suffix = Path(path).suffix
    if suffix.lower() not in ("", *known):
        raise UsageError(f"{str(path)!r} would hold no {suffix} file: {kinds}.")
    return suffix.lower()


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file atomically; raise `UsageError` if that fails.

    A link stays one: the file that it leads to is replaced. A device or pipe is written to.
    """
    target = expand_user(path)
    try:
        if target.is_dir():
            raise UsageError(f"{str(path)!r} is a folder: name a file in it.")
        if target.exists() and not target.is_file():  # such as /dev/stdout, or >(gzip) of a shell
            target.write_bytes(content)
        else:
            # A file that only its owner may read stays so.
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o666
            resolved = Path(os.path.realpath(target))
            replace_file(resolved, lambda sink: sink.write(content), mode=mode)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror}; name another place."
        ) from error


def import_trials(store: Store | Path | str, name: str, path: str | Path) -> int:
    """Create a search from a pickle of `hyperopt.Trials`, or from a KerasTuner project.

    No code in the pickle is run, and the project is not changed. Trials of a pickle that had not
    ended run when the search is resumed; those of a project count as failed.

    Args:
        store: Store of the new search, or an argument of `open_store`.
        name: The new search's name.
        path: The pickle (docs/hyperopt.md lists the supported kinds), or the folder of a KerasTuner
            project, which contains its `trial_…` folders.

    Returns:
        The number of imported trials.

    Raises:
        UsageError: A search of that name exists, the file does not, or its trials are invalid.
    """
    store = open_store(store)
    from colab_drive_tuner.checkpoint.pickles.reader import read_trials
    from colab_drive_tuner.search.spec.points import complete_imported

    source = expand_user(path)
    documents: list[TrialDocument]
    attachments: Mapping[str, Any]
    if is_project(source):
        documents, attachments = read_project(source), {}
    elif source.is_file():
        documents, attachments = read_trials(source)
    else:
        raise UsageError(
            f"{str(path)!r} is neither a file nor the folder of a KerasTuner project: check the "
            "path."
        )
    complete_imported(documents, str(source))
    insert_into_new(store, name, documents, attachments)
    return len(documents)


def insert_into_new(
    store: Store, name: str, documents: list[TrialDocument], attachments: Mapping[str, Any]
) -> None:
    """Create a search from these trials; raise `UsageError` if one of that name exists."""
    from colab_drive_tuner.search.drive_trials import DriveTrials

    with suppress(SearchNotFoundError):
        if read_status(store, name).trials:
            raise UsageError(
                f"There is a search {name!r} already: import under another name, or skip the "
                "import to continue that search."
            )
    trials = DriveTrials(name, store=store)
    try:
        for key, value in attachments.items():
            trials.attachments[key] = value
        # Last, so that an import that failed before can be repeated: there are no trials yet.
        trials._insert_trial_docs(documents)
    finally:
        trials.close()
