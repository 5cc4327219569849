"""Searches as plain pickles of hyperopt Trials, out and (carefully) in."""

from pathlib import Path

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import SearchNotFoundError, UsageError
from colab_drive_tuner.search.attachments import load_attachment
from colab_drive_tuner.search.trials_export import TrialsExport
from colab_drive_tuner.store.protocol import Store


def export_trials(store: Store, name: str, path: str | Path) -> int:
    """Write a search as a plain pickle of `hyperopt.Trials`.

    Args:
        store: Where the search is kept, as `open_store` returns it.
        name: The search's name.
        path: The file to write; one that is there is replaced.

    Returns:
        How many trials the file holds.

    Raises:
        SearchNotFoundError: There is no search of that name.
        UsageError: The file cannot be written.
    """
    from colab_drive_tuner.search.status import open_journal

    journal = open_journal(store, name)
    history: History = journal.state
    loaded = {
        key: load_attachment(journal.read_file, key, value)
        for key, value in history.attachments.items()
    }
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{str(path)!r} is a folder: name a file.")
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_bytes(TrialsExport()(history, loaded))
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror}; name another place."
        ) from error
    return len(history.trials)


def import_trials(store: Store, name: str, path: str | Path) -> int:
    """Make a new search from a pickle of `hyperopt.Trials`; no code in the file is run.

    Trials that had not ended are run when the search goes on.

    Args:
        store: Where the search will be kept, as `open_store` returns it.
        name: The new search's name.
        path: The pickle; docs/hyperopt.md lists the kinds that can be read.

    Returns:
        How many trials the file held.

    Raises:
        UsageError: There is a search of that name, or no such file, or its trials cannot be used.
    """
    from colab_drive_tuner.checkpoint.pickle_reader import read_trials
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.points import complete_imported
    from colab_drive_tuner.search.status import read_status

    try:
        if read_status(store, name).trials:
            raise UsageError(
                f"There is a search {name!r} already: import under another name, or leave the "
                "import out to go on with that search."
            )
    except SearchNotFoundError:
        pass  # as it should be
    source = Path(path)
    if not source.is_file():
        raise UsageError(f"There is no file {str(path)!r}: check the path.")
    documents, attachments = read_trials(source)
    complete_imported(documents, str(source))
    trials = DriveTrials(name, store=store)
    try:
        trials._insert_trial_docs(documents)
        for key, value in attachments.items():
            trials.attachments[key] = value
    finally:
        trials.close()
    return len(documents)
