"""The journal records a trial's start, unless its end follows at once, and its end."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hyperopt
import pytest
from hyperopt import hp

from colab_drive_tuner.checkpoint.codec.codec import capture, decode
from colab_drive_tuner.checkpoint.record_items import ItemKind, read_items
from colab_drive_tuner.journal.chain.chain import Head, read_on
from colab_drive_tuner.journal.chain.record import Record
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.spec.settings import SearchSettings
from tests.journal.faulty_store import FaultyStore
from tests.processes import wait_until


def suggested() -> dict[str, Any]:
    """Return a document as hyperopt suggests it, before its trial runs."""
    trials = hyperopt.Trials()
    domain = hyperopt.Domain(lambda point: 0.0, {"x": hp.uniform("x", 0, 1)})
    return hyperopt.rand.suggest(trials.new_trial_ids(1), domain, trials, 0)[0]


@pytest.fixture
def trials(tmp_path: Path) -> Iterator[DriveTrials]:
    """A DriveTrials that has claimed an empty search."""
    trials = DriveTrials("s", store=tmp_path)
    trials.own(SearchSettings(seeded=False))
    yield trials
    trials.close()


def recorded(trials: DriveTrials) -> list[str]:
    """Return the kinds of the recorded entries, oldest first."""
    reader = trials.log.journal._reader
    assert trials.log.journal.flush(200)
    kinds: list[str] = []

    def collect(record: Record) -> None:
        if record.kind == "trials":
            kinds.extend(item.kind for item in read_items(record.payload, "it"))

    read_on(reader.store, Head(0, "", (reader.folder.first,)), collect, "s")
    return kinds


def at_once(trials: DriveTrials) -> Any:
    """Return a lock that keeps the background writer from taking entries."""
    assert trials.log.journal._own is not None
    return trials.log.journal._own.writer._changed


def end(trials: DriveTrials, document: dict[str, Any]) -> None:
    """End the trial with a loss."""
    document |= {"state": 2, "result": {"status": "ok", "loss": 1.0}}
    trials.log.end(document, result=capture(document["result"]))


def test_only_the_end_of_a_short_trial_is_recorded(trials: DriveTrials) -> None:
    """A start is not recorded if its end follows before the writer takes it."""
    document = suggested()
    with at_once(trials):
        trials.log.start(document, [document])
        end(trials, document)
    assert recorded(trials) == [ItemKind.END]
    (entry,) = trials.log.history.trials.values()
    assert decode(entry.document) == document
    assert trials.log.remember(entry)


def test_start_and_end_of_a_long_trial_are_recorded(trials: DriveTrials) -> None:
    """The recorded start has the suggested parameters, even if they are changed afterwards."""
    document = suggested()
    before = copy.deepcopy(document)
    with at_once(trials):
        trials.log.start(document, [document])
        document["misc"]["vals"]["x"][0] = 7.0
    assert recorded(trials) == [ItemKind.START]
    (entry,) = trials.log.history.trials.values()
    assert decode(entry.document) == before
    end(trials, document)
    assert recorded(trials) == [ItemKind.START, ItemKind.END]


def test_an_inserted_trial_is_recorded_after_the_running_one(trials: DriveTrials) -> None:
    """A trial that the objective inserts is recorded after the start of the running trial."""
    document, inserted = suggested(), suggested()
    inserted["tid"] = inserted["misc"]["tid"] = 1
    with at_once(trials):
        trials.log.start(document, [document])
        end(trials, inserted)
        end(trials, document)
    assert recorded(trials) == [ItemKind.START, ItemKind.END, ItemKind.END]
    assert list(trials.log.history.trials) == [0, 1]


def test_outages_are_recorded_for_the_timeline(tmp_path: Path) -> None:
    """The timeline has the start and end of each outage, with the session that waited for it."""
    store = FaultyStore(tmp_path)
    trials = DriveTrials("s", store=store, seed=1)

    def objective(x: float) -> float:
        if len(trials.losses()) == 2:
            store.away = True
            wait_until(lambda: trials.log.journal.trouble is not None)
            store.away = False
            wait_until(trials.log.journal.outages)
        return x

    space = hp.uniform("x", 0, 1)
    trials.fmin(objective, space, algo=hyperopt.rand.suggest, max_evals=5, show_progressbar=False)
    (session,) = read_history(store, "s").timeline
    ((gone, back),) = session.outages
    assert session.began < gone < back < session.last + 1
    assert "outage" not in read_history(store, "s").settings
