"""Numbers of requests to Drive that a session needs, counted from the emulator's log."""

from collections import Counter

from hyperopt import hp

from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.journal.chain.chain import FIRST_READS, PROBES
from colab_drive_tuner.search.resume import resume_search


def requests_of_session(drive: DriveEmulator, max_evals: int) -> Counter[str]:
    """Run the same search up to a number of trials; count its requests by kind."""
    drive.clear_log()
    space = hp.uniform("x", -1, 1)
    resume_search(lambda x: x * x, space=space, name="s", max_evals=max_evals, progress=False)
    return Counter(
        "content"
        if "alt=media" in entry["query"]
        else "list"
        if "q=" in entry["query"]
        else "ids"
        if entry["path"].endswith("/generateIds")
        else "about"
        if entry["path"].endswith("/about")
        else "metadata"
        if entry["method"] == "GET"
        else "change"
        for entry in drive.log
    )


def test_a_new_search_reads_nothing(drive_emulator: DriveEmulator) -> None:
    """The folder that a session has just created is neither checked nor read.

    Changes: two folders, records/, claim, trial, trials.pkl, release.
    """
    found = requests_of_session(drive_emulator, 1)
    assert found["content"] == 0
    assert found["metadata"] == 2  # at its end: whether the folder was renamed, moved or trashed
    assert found["change"] == 7


def test_a_resumed_search_is_read_once(drive_emulator: DriveEmulator) -> None:
    """Records are read once, a few ids ahead; the claim itself shows whether more were added.

    Lists: the folder of all searches, the search. Changes: claim, trial, trials.pkl, release.
    """
    requests_of_session(drive_emulator, 1)
    found = requests_of_session(drive_emulator, 2)
    assert found["content"] == 1 + FIRST_READS + len(PROBES)
    assert found["metadata"] == 3 + 1 + 2  # of the folder's ids, the last record, at the end
    assert (found["list"], found["about"], found["change"], found["ids"]) == (2, 1, 4, 0)


def test_a_finished_search_is_only_read(drive_emulator: DriveEmulator) -> None:
    """The same call on a finished search changes nothing."""
    requests_of_session(drive_emulator, 1)
    found = requests_of_session(drive_emulator, 1)
    assert found["content"] == 1 + FIRST_READS + len(PROBES)
    assert found["change"] == found["ids"] == 0
