"""Folding a chain's records into a search's history: trials, results, attempts, settings."""

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.codec.codec import decode, encode
from colab_drive_tuner.checkpoint.history import MAX_SESSIONS, History
from colab_drive_tuner.checkpoint.record_items import (
    VERSION,
    ItemKind,
    TrialEnd,
    attachment_item,
    claim_payload,
    pack_item,
    read_items,
    settings_item,
)
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.record import (
    Claimant,
    Record,
    decode_record,
    encode_record,
)

SOMEBODY = Claimant("machine", 1, "host", "me@example.com", "a test")


def record(kind: str, payload: bytes = b"", owner: str = "A", reason: str = "") -> Record:
    claimant = SOMEBODY if kind == "claim" else None
    return Record(0, kind, owner, "", (), payload, 0.0, "", reason, claimant)


def folded(*records: Record) -> History:
    history = History()
    for one in records:
        history.apply(one)
    return history


def document(tid: int, x: float = 0.5, state: int = 0) -> bytes:
    misc = {"tid": tid, "vals": {"x": [x]}, "idxs": {"x": [tid]}}
    known = {"tid": tid, "state": state, "misc": misc, "result": {}}
    others = ("spec", "owner", "book_time", "refresh_time", "exp_key")
    return encode(known | dict.fromkeys(others))


def start(tid: int, owner: str = "A", progress: int = 0) -> Record:
    item = pack_item(ItemKind.START, tid, tid, document(tid), next_tid=tid + 1, progress=progress)
    return record("trials", item, owner)


def end(tid: int, how: str = TrialEnd.DONE, owner: str = "A", loss: float | None = None) -> Record:
    return record(
        "trials",
        pack_item(ItemKind.END, tid, tid, document(tid, state=2), how=how, loss=loss),
        owner,
    )


def claim(owner: str, reason: str = "dead", queued: Iterable[bytes] = (), **payload: Any) -> Record:
    return record("claim", claim_payload(payload, queued), owner, reason)


def test_starts_and_ends_are_folded() -> None:
    """The history has the newest document of each trial, in the order of their first items."""
    history = folded(claim("A", "new", max_evals=5), start(0), end(0, loss=2.5), start(1))
    assert [entry.tid for entry in history.trials.values()] == [0, 1]
    assert decode(history.trials[0].document)["state"] == 2
    assert (history.done, history.best_loss, history.next_tid) == (1, 2.5, 2)
    assert [entry.tid for entry in history.unfinished] == [1]


def test_the_first_random_state_and_the_last_target_hold() -> None:
    """Later claims cannot change the random state and seed; a reset can."""
    chain = [
        claim("A", "new", rstate=b"one", seed=1, max_evals=5),
        claim("B", rstate=b"two", seed=2, max_evals=9),
        record(
            "trials",
            settings_item({"max_evals": 12, "rstate": b"three"}),
            "B",
        ),
    ]
    assert folded(*chain).settings == {"rstate": b"one", "seed": 1, "max_evals": 12}
    reset = record("reset", claim_payload({"rstate": b"new", "seed": 7}), "B")
    again = folded(*chain, start(0), reset)
    assert again.settings == {"rstate": b"new", "seed": 7}
    assert not again.trials
    assert again.next_tid == 0


def test_each_death_in_a_trial_is_one_attempt() -> None:
    """A session that names a trial twice counts once; `out_of_attempts` applies the limit."""
    history = folded(claim("A", "new"), start(0), claim("B"), start(0, "B"), start(0, "B"))
    assert set(history.trials[0].attempts) == {"A", "B"}
    assert history.deaths == 1
    assert [entry.tid for entry in history.out_of_attempts(2)] == [0]
    assert history.out_of_attempts(3) == []


def died(tid: int, deaths: int, owner: str = "A", progress: int = 0) -> Record:
    """Return a start after `deaths` of the session's workers died in the trial."""
    item = pack_item(
        ItemKind.START,
        tid,
        tid,
        document(tid),
        next_tid=tid + 1,
        deaths=deaths,
        progress=progress,
        pending=(7,),
    )
    return record("trials", item, owner)


def test_each_worker_that_died_is_one_attempt() -> None:
    """Worker deaths count within one session and after its release, but not after progress."""
    chain = [claim("A", "new"), start(0), died(0, 1), died(0, 2)]
    assert len(folded(*chain).trials[0].attempts) == 3
    released = [*chain, record("release", owner="A"), claim("B", "released")]
    assert len(folded(*released).trials[0].attempts) == 2
    assert len(folded(*released, died(0, 1, "B")).trials[0].attempts) == 4
    assert len(folded(*chain, start(0, progress=1)).trials[0].attempts) == 1


def test_the_pending_trials_of_a_suggestion_are_kept() -> None:
    """The pending trials named with a trial's start survive claims and snapshots."""
    queued = [pack_item(ItemKind.QUEUED, 0, 0, document(0), next_tid=1, pending=(3,))]
    history = folded(claim("A", "new"), died(0, 1), claim("B", "dead", queued), end(0, owner="B"))
    assert history.trials[0].pending == (7,)
    assert History.load(history.dump()).trials[0].pending == (7,)
    assert folded(start(0)).trials[0].pending == ()


def test_a_queued_trial_has_no_attempt() -> None:
    """A claim names the trials that it inherits, but only a start counts as an attempt."""
    queued = [pack_item(ItemKind.QUEUED, 4, 4, document(4), next_tid=5)]
    history = folded(claim("A", "new"), claim("B", "dead", queued), claim("C", "dead", queued))
    assert history.trials[4].attempts == {}


@pytest.mark.parametrize(
    "excuse",
    [
        [record("release"), claim("B", "released")],
        [claim("B", "takeover")],
        [claim("B"), start(0, "B", progress=3)],
    ],
    ids=["released", "taken over alive", "got further"],
)
def test_releases_takeovers_and_progress_are_not_counted_as_deaths(excuse: list[Record]) -> None:
    """A release, the takeover of a living session and progress of a backup do not count."""
    assert "A" not in folded(claim("A", "new"), start(0), *excuse).trials[0].attempts


def test_a_death_without_progress_counts() -> None:
    """Only greater progress of the backup keeps a death from counting."""
    history = folded(claim("A", "new"), start(0, progress=3), claim("B"), start(0, "B", progress=3))
    assert set(history.trials[0].attempts) == {"A", "B"}


@pytest.mark.parametrize(
    ("how", "counts", "unfinished"),
    [
        (TrialEnd.DONE, True, False),
        (TrialEnd.CAUGHT, True, False),
        (TrialEnd.GIVEN_UP, True, False),
        (TrialEnd.RAISED, False, True),
    ],
)
def test_ends(how: str, counts: bool, unfinished: bool) -> None:
    """All ends count except an error that ended the run, whose trial runs again."""
    history = folded(claim("A", "new"), start(0), end(0, how))
    assert history.trials[0].counts is counts
    assert history.trials[0].unfinished is unfinished


def test_the_first_real_end_holds() -> None:
    """A second end of a trial is ignored, but an end replaces a give-up."""
    history = folded(start(0), end(0, loss=1.0), end(0, TrialEnd.CAUGHT))
    assert (history.trials[0].end, history.best_loss) == (TrialEnd.DONE, 1.0)
    assert folded(start(0), end(0, TrialEnd.GIVEN_UP), end(0)).trials[0].end == TrialEnd.DONE


def test_attachments_are_kept_until_deleted() -> None:
    """The last value of each attachment is kept, and a deleted one is gone."""
    names = [("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", None)]
    payload = b"".join(attachment_item(name, value)[0] for name, value in names)
    assert folded(record("trials", payload)).attachments == {"a": b"3"}


STOP = {"stopped": {"why": "f", "rules": "f", "rules_after": "f", "max_evals": 3}}


def early_stop(ended: int, by: str = "f") -> dict[str, Any]:
    """Return the setting with the state of an early-stop function after `ended` trials."""
    return {"early_stop": {"by": by, "arguments": b"", "ended": ended}}


@pytest.mark.parametrize(
    ("chain", "item", "expected"),
    [
        ([], pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE), True),
        ([start(0)], pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE), True),
        ([start(0)], pack_item(ItemKind.END, 0, 0, document(0, x=0.7), how=TrialEnd.DONE), False),
        (
            [start(0), end(0)],
            pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE),
            False,
        ),
        (
            [start(0), end(0, TrialEnd.CAUGHT)],
            pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE),
            False,
        ),
        (
            [start(0), end(0, TrialEnd.GIVEN_UP)],
            pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE),
            True,
        ),
        (
            [start(0), end(0, TrialEnd.GIVEN_UP)],
            pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.RAISED),
            False,
        ),
        (
            [start(0), end(0, TrialEnd.RAISED)],
            pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE),
            True,
        ),
        ([start(0)], pack_item(ItemKind.START, 0, 0, document(0), next_tid=1), False),
        ([], pack_item(ItemKind.START, 0, 0, document(0), next_tid=1), True),
        ([start(0), end(0)], attachment_item("ATTACH::0::plot::2", b"")[0], False),
        ([start(0), end(0)], attachment_item("ATTACH::00::plot", b"")[0], True),
        ([start(0)], attachment_item("ATTACH::0::plot::2", b"")[0], True),
        ([], settings_item(early_stop(3)), True),
        (
            [record("trials", settings_item(early_stop(2)))],
            settings_item(early_stop(3)),
            True,
        ),
        (
            [record("trials", settings_item(early_stop(3)))],
            settings_item(early_stop(3)),
            False,
        ),
        (
            [record("trials", settings_item(early_stop(4)))],
            settings_item(early_stop(3)),
            False,
        ),
        (
            [record("trials", settings_item(early_stop(3, "g")))],
            settings_item(early_stop(3)),
            True,
        ),
        (
            [record("trials", settings_item(early_stop(4, "g")))],
            settings_item(early_stop(3)),
            False,
        ),
        (
            [],
            settings_item(early_stop(3) | STOP),
            True,
        ),
        ([], settings_item(early_stop(3) | {"max_evals": 3}), False),
        ([], settings_item(STOP), False),
    ],
)
def test_which_spooled_items_are_wanted(chain: list[Record], item: bytes, expected: bool) -> None:
    """Missing ends of known points and later early-stop states in the spool are replayed.

    Other settings belong to the session that set them.
    """
    assert wanted(folded(*chain), item) is expected


def chains() -> st.SearchStrategy[list[Record]]:
    """Draw chains of any shape over a few trials and sessions."""
    tids, owners = st.integers(0, 4), st.sampled_from("ABC")
    return st.lists(
        st.one_of(
            st.builds(start, tids, owners, st.integers(0, 3)),
            st.builds(died, tids, st.integers(1, 3), owners, st.integers(0, 3)),
            st.builds(
                end,
                tids,
                st.sampled_from(
                    [TrialEnd.DONE, TrialEnd.CAUGHT, TrialEnd.RAISED, TrialEnd.GIVEN_UP]
                ),
                owners,
            ),
            st.builds(claim, owners, st.sampled_from(["dead", "released", "takeover"])),
            st.builds(lambda owner: record("release", owner=owner), owners),
            st.just(record("reset", claim_payload({"max_evals": 3}))),
        ),
        max_size=30,
    )


@given(chains(), st.integers(0, 30))
def test_a_snapshot_stands_for_the_records_before_it(chain: list[Record], cut: int) -> None:
    """A history loaded from a snapshot at any record and continued equals the whole history."""
    whole = folded(*chain)
    resumed = History.load(folded(*chain[:cut]).dump())
    for one in chain[cut:]:
        resumed.apply(one)
    assert vars(resumed) == vars(whole)
    assert resumed.dump() == whole.dump()


def test_a_damaged_record_is_named() -> None:
    """The error names the position of a record that is cut or has other content."""
    payload = start(0).payload
    for bad in (payload[:-3], b"\xc1", msgpack.packb(5), msgpack.packb(["end", 0, 0, {}, b""])):
        with pytest.raises(SearchDamagedError, match="Record 7"):
            folded(dataclasses.replace(record("trials", bad), pos=7))
    for bad in (b"\x80", msgpack.packb({"v": VERSION}), b"garbage"):
        with pytest.raises(SearchDamagedError, match="Record 0"):
            folded(record("claim", bad))


@given(st.data())
def test_a_damaged_snapshot_is_an_error_or_loads(data: st.DataObject) -> None:
    """A snapshot that is changed or cut loads or raises a SearchDamagedError."""
    content = folded(claim("A", "new", max_evals=3), start(0), end(0, loss=1.0), start(1)).dump()
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[:place] + data.draw(st.binary(max_size=2)) + content[place + 1 :]
    with contextlib.suppress(SearchDamagedError):
        History.load(changed)


def test_a_newer_format_is_said_to_be_newer() -> None:
    """The error about a newer format says that it is newer."""
    newer = msgpack.packb({"v": VERSION + 1, "settings": {}, "trials": b""})
    with pytest.raises(SearchDamagedError, match="newer version"):
        folded(record("claim", newer))


@pytest.mark.parametrize("info", [{"name": "n"}, {"set": True}, {}])
def test_an_attachment_says_its_name_and_whether_it_was_set(info: dict[str, Any]) -> None:
    """An attachment without a name or value is damage, because it would delete something."""
    for value in (b"d", None):
        (whole,) = read_items(attachment_item("", value)[0], "it")
        assert (whole.name, whole.is_set) == ("", value is not None)
    payload = msgpack.packb([ItemKind.ATTACHMENT, -1, None, info, b"d"])
    with pytest.raises(SearchDamagedError, match="Record 0"):
        folded(record("trials", payload))


def test_a_record_without_an_owner_can_be_encoded_and_decoded() -> None:
    """A record without an owner, which a person may have written, survives encoding."""
    encoded = encode_record(dataclasses.replace(record("release", owner=""), at=1.0))
    assert decode_record(encoded.content, "it").owner == ""


def test_content_that_ends_within_an_entry_is_damage() -> None:
    """Cut content raises SearchDamagedError; otherwise the search would lose a trial."""
    end_of_first = len(folded(claim("A", "new", max_evals=3)).dump())
    content = folded(claim("A", "new", max_evals=3), end(0, loss=1.0)).dump()
    for cut in range(end_of_first + 1, len(content)):
        with pytest.raises(SearchDamagedError):
            History.load(content[:cut])
    payload = pack_item(ItemKind.END, 0, 0, document(0), how=TrialEnd.DONE, loss=1.0)
    for cut in range(1, len(payload)):
        with pytest.raises(SearchDamagedError, match="Record 0"):
            folded(record("trials", payload[:cut]))


def claimed(at: float, reason: str, pid: int) -> Record:
    who = dataclasses.replace(SOMEBODY, pid=pid)
    return dataclasses.replace(record("claim", reason=reason, owner=f"S{pid}"), at=at, claimant=who)


def test_sessions_are_kept_with_their_times_and_ends() -> None:
    """A session lasts from claim to last record; its release or the next claim gives its end."""
    history = folded(
        claimed(10.0, "new", 1),
        dataclasses.replace(start(0, "S1"), at=12.0),
        claimed(50.0, "dead", 2),
        dataclasses.replace(record("release", owner="S2"), at=60.0),
        claimed(90.0, "released", 3),
    )
    ends = [(one.where, one.began, one.last, one.end) for one in history.timeline]
    assert ends == [
        ("a test, process 1 on host", 10.0, 12.0, "dead"),
        ("a test, process 2 on host", 50.0, 60.0, "released"),
        ("a test, process 3 on host", 90.0, 90.0, None),
    ]
    assert History.load(history.dump()).timeline == history.timeline


def test_a_reset_removes_earlier_sessions() -> None:
    """After a restart the timeline begins with the session that made it."""
    history = folded(claimed(10.0, "new", 1), claimed(50.0, "dead", 2), record("reset", owner="S2"))
    assert [one.began for one in history.timeline] == [50.0]


def test_the_number_of_sessions_in_the_timeline_is_limited() -> None:
    """A search with thousands of sessions keeps only the latest ones, but counts all."""
    history = History()
    for number in range(MAX_SESSIONS + 50):
        history.apply(claimed(float(number), "dead", number))
    assert len(history.timeline) == MAX_SESSIONS
    assert history.timeline[-1].began == MAX_SESSIONS + 49
    assert history.sessions == MAX_SESSIONS + 50
