"""Searches as plain pickles of hyperopt Trials, out and (carefully) in."""

from pathlib import Path

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import SearchNotFoundError, UsageError
from colab_drive_tuner.search.attachments import load_attachment
from colab_drive_tuner.search.trials_export import TrialsExport
from colab_drive_tuner.store.protocol import Store


def export_trials(store: Store, name: str, path: str | Path) -> int:
    """Write the search to `path` as a plain pickle of Trials; return how many trials it holds."""
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
    """Make the new search `name` from a pickle of Trials; return how many trials it held.

    No code in the file is run. Trials that had not ended are run when the search goes on.
    """
    from colab_drive_tuner.checkpoint.pickle_reader import read_trials
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.points import complete_imported
    from colab_drive_tuner.search.status import read_status

    try:
        if read_status(store, name).trials:
            raise UsageError(f"There is a search {name!r} already: import under another name.")
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
