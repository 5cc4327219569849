"""Untrusted content in a store raises this package's errors or does no harm."""

import contextlib
import dataclasses
import hashlib
import math
import shutil
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import unpack_values
from colab_drive_tuner.errors import SearchDamagedError, SearchError
from colab_drive_tuner.journal.chain.chain import decode_snapshot, save_snapshot
from colab_drive_tuner.journal.chain.record import (
    decode_record,
    frame,
    split_items,
    unframe,
    unpack,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.exchange.import_export import export_trials
from colab_drive_tuner.search.results.read_search import (
    list_searches,
    open_journal,
    read_history,
    read_status,
)
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import LATEST_TIME
from colab_drive_tuner.troubleshoot.clean.search_leftovers import leftovers_of_searches
from colab_drive_tuner.troubleshoot.doctor import Level, examine
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.troubleshoot.damaged_searches import run_with_record_per_trial

DEEP = msgpack.packb(None)
for _ in range(900):
    DEEP = b"\x91" + DEEP
HUGE = b"\xdd\xff\xff\xff\xff"
"""The header of a list of four billion."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two searches; the chain of "search" ends with a record of its trial 1."""
    where = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(where / "state"))
        run_with_record_per_trial(where / "store", 2, "fine")
        run_with_record_per_trial(where / "store", 2)
        more = DriveTrials("search", store=where / "store", notify=lambda text: None)
        more.attachments["small"], more.attachments["large"] = 1, b"large" * 5000
        more.close()
    return where / "store"


@pytest.fixture
def store(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Return a copy of the original store."""
    monkeypatch.chdir(tmp_path)
    return FolderStore(shutil.copytree(original, tmp_path / "store"))


def chain(store: FolderStore) -> list[Path]:
    return sorted(Path(store.url(store.root)).glob("search/records/record-*"))


def put(store: FolderStore, number: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the body of a record and relink the following ones, with the right checksums."""
    folder = find_folder(store, "search")
    assert folder is not None
    store.set_properties(folder.id, {"cdt_hint": ""})
    paths = chain(store)
    prev = None
    for path in paths[number:]:
        body = unframe(path.read_bytes(), "it")
        if prev is None:
            body = change(body) or body
        else:
            body["prev"] = prev
        path.write_bytes(frame(body))
        prev = hashlib.sha256(path.read_bytes()).hexdigest()


def trials_records(store: FolderStore) -> list[int]:
    """Return the positions of the records that have trials."""
    records = [decode_record(path.read_bytes(), "it") for path in chain(store)]
    return [one.pos for one in records if one.kind == "trials"]


def first_item(store: FolderStore, kind: str) -> tuple[int, int, list[Any]]:
    """Return position, index and fields of the first item of a kind."""
    for pos in trials_records(store):
        for index, item in enumerate(items_of(store, pos)):
            fields = msgpack.unpackb(item, strict_map_key=False)
            if fields[0] == kind:
                return pos, index, fields
    raise AssertionError(kind)


def items_of(store: FolderStore, pos: int) -> list[bytes]:
    return split_items(decode_record(chain(store)[pos].read_bytes(), "it").payload)


def put_item(store: FolderStore, kind: str, change: Callable[[list[Any]], Any]) -> int:
    """Change the fields of the first item of a kind; return the position of its record."""
    pos, index, fields = first_item(store, kind)
    changed = change(fields)
    items = items_of(store, pos)
    items[index] = changed if isinstance(changed, bytes) else msgpack.packb(fields)
    put(store, pos, lambda body: body.update(payload=b"".join(items)))
    return pos


def use(store: FolderStore) -> str:
    """Call everything that only reads, and return the problem of the search, if any."""
    rows = {row.name: row for row in list_searches(store)}
    assert (rows["fine"].done, rows["fine"].problem) == (2, "")
    for action in (
        lambda: read_status(store, "search"),
        lambda: str(read_status(store, "search").holder),
        lambda: export_trials(store, "search", "out.pkl"),
        lambda: dict(DriveTrials("search", store=store).attachments),
        lambda: list(leftovers_of_searches(store)),
        lambda: list(examine(store)),
    ):
        with contextlib.suppress(SearchError):
            action()
    return rows["search"].problem if "search" in rows else ""


ITEMS: dict[str, tuple[str, Callable[[list[Any]], Any]]] = {
    "a list as a key": ("start", lambda fields: b"\x95\xa5start\x00\x00\x81\x90\xc0\xc4\x00"),
    "a map as a key": ("start", lambda fields: b"\x95\xa5start\x00\x00\x81\x80\xc0\xc4\x00"),
    "only a map with a list as a key": ("start", lambda fields: b"\x81\x90\xc0"),
    "nested deeply": ("end", lambda fields: DEEP),
    "absurdly long": ("end", lambda fields: HUGE),
    "cut": ("end", lambda fields: msgpack.packb(fields)[:-3]),
    "a text as next": ("start", lambda fields: fields[3].update(next="abc")),
    "a negative next": ("start", lambda fields: fields[3].update(next=-1)),
    "a true next": ("start", lambda fields: fields[3].update(next=True)),
    "a list as progress": ("start", lambda fields: fields[3].update(progress=[1])),
    "a text as loss": ("end", lambda fields: fields[3].update(loss="x")),
    "NaN as loss": ("end", lambda fields: fields[3].update(loss=math.nan)),
    "a list as the end": ("end", lambda fields: fields[3].update(how=[])),
    "no end": ("end", lambda fields: fields[3].pop("how")),
    "a text as model": ("end", lambda fields: fields[3].update(model="x")),
    "NaN as tid": ("end", lambda fields: fields.__setitem__(1, math.nan)),
    "a list as tid": ("end", lambda fields: fields.__setitem__(1, [1])),
    "a call that never was": ("start", lambda fields: fields.__setitem__(2, 2**62)),
    "a negative call": ("start", lambda fields: fields.__setitem__(2, -1)),
    "a list as kind": ("start", lambda fields: fields.__setitem__(0, ["start"])),
    "a text as info": ("start", lambda fields: fields.__setitem__(3, "x")),
    "a text as document": ("start", lambda fields: fields.__setitem__(4, "x")),
    "a list as sha": ("attachment", lambda fields: fields[3].update(sha=[1])),
    "a sha without a file": ("attachment", lambda fields: fields[3].update(sha="0" * 64)),
    "a list as name": ("attachment", lambda fields: fields[3].update(name=[1])),
    "no name": ("attachment", lambda fields: fields[3].pop("name")),
}


@pytest.mark.parametrize("what", ITEMS)
def test_an_invalid_entry_is_damage_of_the_record_that_is_named(
    store: FolderStore, what: str
) -> None:
    """An invalid entry is damage: doctor names the record, and repair continues without it."""
    pos = put_item(store, *ITEMS[what])
    assert f"Record {pos} " in use(store)
    with pytest.raises(SearchDamagedError, match=rf"Record {pos} .*repair search"):
        read_status(store, "search")
    (found,) = (one for one in examine(store) if one.about == "search 'search'")
    assert (found.level, f"Record {pos}" in found.text) == (Level.PROBLEM, True)
    assert repair(store, "search").reason
    assert read_status(store, "search").trials <= 2


def document(**changes: Any) -> bytes:
    """Return a trial document with some of its fields changed, or removed by None."""
    good = {"tid": 0, "state": 2, "exp_key": "x", "result": {}, "misc": {"vals": {}, "idxs": {}}}
    return encode({key: val for key, val in (good | changes).items() if val is not None})


DOCUMENTS: dict[str, bytes] = {
    "a number": encode(1),
    "an empty map": encode({}),
    "another trial's": document(tid=7),
    "no misc": document(misc=None),
    "a text as misc": document(misc="x"),
    "no vals": document(misc={"idxs": {}}),
    "no idxs": document(misc={"vals": {}}),
    "a number as value": document(misc={"vals": {"x": 1}, "idxs": {}}),
    "a number as index": document(misc={"vals": {}, "idxs": {"x": 1}}),
    "a text as state": document(state="x"),
    "a state that is none": document(state=9),
    "no experiment": document(exp_key=None),
    "a list as experiment": document(exp_key=[1]),
    "no result": document(result=None),
    "a list as result": document(result=[]),
    "a text as loss": document(result={"status": "ok", "loss": "x"}),
    "a list as status": document(result={"status": [1]}),
    "no value": b"",
    "garbage": b"\xc1",
    "a list as a key": b"\x81\x90\xc0",
    "nested deeply": DEEP,
    "absurdly long": HUGE,
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_an_invalid_document_is_damage_of_the_trial_that_is_named(
    store: FolderStore, what: str
) -> None:
    """Reading, export and doctor name the trial of an invalid document; repair runs it again."""
    pos = put_item(store, "end", lambda fields: fields.__setitem__(4, DOCUMENTS[what]))
    use(store)
    with pytest.raises(SearchDamagedError, match=rf"trial 0 .*record {pos}.*repair"):
        DriveTrials("search", store=store)
    with pytest.raises(SearchDamagedError, match="trial 0 "):
        export_trials(store, "search", "out.pkl")
    (found,) = (one for one in examine(store) if one.about == "search 'search'")
    assert (found.level, "trial 0 " in found.text) == (Level.PROBLEM, True)
    Path(store.url(store.root), "search", "trials.pkl").unlink()  # which has the valid document
    report = repair(store, "search")
    assert (report.done, report.again) == (1, ("0",))
    run_with_record_per_trial(store, 2)
    assert read_status(store, "search").done == 2


BODIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a text as more": lambda body: body.update(more="abc"),
    "a map as more": lambda body: body.update(more={"abc": 1}),
    "no ids as more": lambda body: body.update(more=["../../x"]),
    "a negative position": lambda body: body.update(pos=-1),
    "a true position": lambda body: body.update(pos=True),
    "a list as kind": lambda body: body.update(kind=[]),
    "an unknown kind": lambda body: body.update(kind="x"),
    "a trial's record with a claimant": lambda body: body.update(claimant={}),
    "no payload": lambda body: body.pop("payload"),
    "a list as sha": lambda body: body.update(files=[1]),
    "a number as a file": lambda body: body.update(files={"0" * 64: 1}),
    "an infinite care": lambda body: body.update(careful=math.inf),
    "a NaN care": lambda body: body.update(careful=math.nan),
    "a text as payload": lambda body: body.update(payload="x"),
    "a time in the year 10000": lambda body: body.update(at=LATEST_TIME + 1),
    "a NaN time": lambda body: body.update(at=math.nan),
}


@pytest.mark.parametrize("what", BODIES)
def test_an_invalid_record_is_damage_that_is_named(store: FolderStore, what: str) -> None:
    """The error about an invalid record names its position, whichever field is wrong."""
    pos = trials_records(store)[1]
    put(store, pos, lambda body: BODIES[what](body) and None)
    assert f"Record {pos} of search 'search'" in use(store)


CLAIMS: dict[str, bytes] = {
    "a list as a key": b"\x81\x90\xc0",
    "settings that are a list": msgpack.packb({"v": 1, "settings": [], "trials": b""}),
    "a text as max_evals": msgpack.packb({"v": 1, "settings": {"max_evals": "9"}, "trials": b""}),
    "a negative max_evals": msgpack.packb({"v": 1, "settings": {"max_evals": -9}, "trials": b""}),
    "a list as rstate": msgpack.packb({"v": 1, "settings": {"rstate": [1]}, "trials": b""}),
    "a text as source": msgpack.packb({"v": 1, "settings": {"source": "x"}, "trials": b""}),
    "a list as space": msgpack.packb({"v": 1, "settings": {"space": [1]}, "trials": b""}),
    "a list as generation": msgpack.packb({"v": 1, "settings": {"generation": [1]}, "trials": b""}),
    "a number as a setting's name": msgpack.packb({"v": 1, "settings": {1: 1}, "trials": b""}),
    "trials that are a text": msgpack.packb({"v": 1, "settings": {}, "trials": "x"}),
    "a version that is a text": msgpack.packb({"v": "1", "settings": {}, "trials": b""}),
    "nested settings": b"\x83\xa1v\x01\xa6trials\xc4\x00\xa8settings\x81\xa1x" + DEEP,
}


@pytest.mark.parametrize("what", CLAIMS)
def test_an_invalid_claim_is_damage_that_is_named(store: FolderStore, what: str) -> None:
    """Settings of the wrong type in a claim are an error that names the record."""
    put(store, 0, lambda body: body.update(payload=CLAIMS[what]))
    assert "Record 0 " in use(store)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xc1",
        b"x",
        encode({"bit_generator": "MT19937", "state": {"key": [1], "pos": 10**6}}),
        encode({"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}}),
        encode({"bit_generator": ["x"]}),
        encode({"bit_generator": "Philox", "state": {}, "buffer": [], "buffer_pos": 9}),
        encode([1]),
    ],
)
def test_an_invalid_random_state_is_damage(store: FolderStore, state: bytes) -> None:
    """A forged random state, with which numpy could read beyond its buffer, is refused."""

    def change(body: dict[str, Any]) -> None:
        claim = msgpack.unpackb(body["payload"])
        claim["settings"]["rstate"] = state
        body["payload"] = msgpack.packb(claim)

    put(store, 0, change)
    with pytest.raises(SearchDamagedError, match="random state"):
        run_with_record_per_trial(store, 4)


def test_unknown_fields_of_a_newer_version_are_ignored(store: FolderStore) -> None:
    """Unknown fields in items, records and claims are ignored, and unknown settings are kept."""
    put_item(store, "end", lambda fields: (fields[3].update(newer=[1, {"x": 2}]), fields.append(9)))
    put(store, 1, lambda body: body.update(newer={"x": [1]}))

    def change(body: dict[str, Any]) -> None:
        claim = msgpack.unpackb(body["payload"])
        claim["settings"]["newer"], claim["newer"] = {"x": 1}, 3
        body["payload"], body["claimant"]["newer"] = msgpack.packb(claim), 4

    put(store, 0, change)
    assert use(store) == ""
    assert read_history(store, "search").settings["newer"] == {"x": 1}
    run_with_record_per_trial(store, 4)
    assert read_history(store, "search").settings["newer"] == {"x": 1}


def test_a_huge_next_trial_id_takes_no_memory(store: FolderStore) -> None:
    """A huge next id is used as it is, without counting up to it."""
    put_item(store, "start", lambda fields: fields[3].update(next=2**60))
    assert DriveTrials("search", store=store).new_trial_ids(1) == [2**60]


@pytest.mark.parametrize("tree", [DEEP, b"\x81\xa1x" + DEEP, DEEP.replace(b"\x91", b"\x81\x01")])
def test_decoding_bounds_how_deeply_values_nest(tree: bytes) -> None:
    """Values that are nested more deeply than can be encoded are refused."""
    with pytest.raises(CodecError, match="not encoded data"):
        decode(tree)
    deep: Any = 1
    for _ in range(199):
        deep = [deep]
    assert decode(encode(deep)) == deep


def test_no_keys_of_a_record_can_be_made_to_hash_alike() -> None:
    """Timestamps of msgpack could have equal hashes, so they are decoded as floats."""
    packed = msgpack.packb({msgpack.Timestamp(second, 5): None for second in (1, 2, -(2**62))})
    for (*keys,) in (unpack(packed, "it"), next(unpack_values(packed))):
        assert {type(key) for key in keys} == {float}


def test_wide_values_are_not_taken_for_deep_ones() -> None:
    """Many short lists, and bytes that look like headers of lists, do not count as nesting."""
    value = {"x": [[i] for i in range(3000)], "y": b"\x91" * 5000}
    assert decode(encode(value)) == value


# -- snapshots


def snapshot_of(store: FolderStore) -> tuple[Path, dict[str, Any]]:
    folder = find_folder(store, "search")
    assert folder is not None
    history = read_history(store, "search")
    head = open_journal(store, "search")._reader.head
    made = save_snapshot(store, folder, head, history.dump())
    path = Path(store.url(made))
    return path, unframe(path.read_bytes(), "it")


def test_a_snapshot_that_is_a_decompression_bomb_is_ignored(store: FolderStore) -> None:
    """A state of 100 MB of zeros in 100 kB is not unpacked."""
    path, body = snapshot_of(store)
    body["state"] = zlib.compress(bytes(100 << 20), 9)
    path.write_bytes(frame(body))
    tracemalloc.start()
    try:
        assert read_status(store, "search").done == 2
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_state_that_compresses_well_is_read_back(store: FolderStore) -> None:
    """The snapshot of a state that compresses well is not taken for a decompression bomb."""
    folder = find_folder(store, "search")
    assert folder is not None
    head = open_journal(store, "search")._reader.head
    state = bytes(30 << 20)
    made = save_snapshot(store, folder, head, state)
    assert decode_snapshot(store.read(made), "it", lambda content: content) == (head, state)


@pytest.mark.parametrize("key", ["pos", "sha", "ids", "last_id", "epoch", "claim"])
@pytest.mark.parametrize("value", [None, [1], "x", -1, {}, {1: 2}, math.nan])
def test_a_snapshot_with_an_invalid_head_is_ignored(
    store: FolderStore, key: str, value: Any
) -> None:
    """If a snapshot's head is invalid, the search is read from its records."""
    path, body = snapshot_of(store)
    body["head"][key] = value
    path.write_bytes(frame(body))
    assert use(store) == ""
    assert read_status(store, "search").done == 2


# -- any content


def values() -> st.SearchStrategy[Any]:
    """Draw any value that msgpack can encode."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(),
        st.text(max_size=5), st.binary(max_size=8),
        st.sampled_from(["end", "start", "done", "trials", "claim", "0" * 64, b"\x81\x90\xc0"]),
        st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    )  # fmt: skip
    keys = st.one_of(st.text(max_size=3), st.integers(-5, 5), st.binary(max_size=2))
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=6,
    )


def mutated(data: st.DataObject, tree: Any) -> Any:
    """Return the tree with one part of it replaced, removed or added."""
    if isinstance(tree, dict | list) and tree and data.draw(st.booleans()):
        key = data.draw(
            st.sampled_from(sorted(tree) if isinstance(tree, dict) else range(len(tree)))
        )
        if data.draw(st.integers(0, 9)) == 0:
            del tree[key]
        else:
            tree[key] = mutated(data, tree[key])
        return tree
    if isinstance(tree, dict) and data.draw(st.booleans()):
        return tree | {data.draw(st.text(max_size=3)): data.draw(values())}
    return data.draw(values())


@pytest.fixture(scope="module")
def fuzzed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderStore]:
    """A copy of the store whose records are restored after each example."""
    where = tmp_path_factory.mktemp("fuzzed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        yield FolderStore(shutil.copytree(original, where / "store"))


MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@MANY
@given(st.data())
def test_any_change_of_a_record_is_damage_or_nothing(
    fuzzed: FolderStore, data: st.DataObject
) -> None:
    """Changed bodies, payloads, entries and documents with right checksums do no harm."""
    paths = chain(fuzzed)
    before = [path.read_bytes() for path in paths]
    pos = data.draw(st.integers(0, len(paths) - 1))
    kind = decode_record(before[pos], "it").kind
    where = data.draw(st.sampled_from(["body", "payload", "inside"]))

    def change(body: dict[str, Any]) -> Any:
        if where == "body":
            tree = mutated(data, body)
            return tree if isinstance(tree, dict) else {}
        if where == "payload":
            body["payload"] = data.draw(st.binary(max_size=20) | values().map(msgpack.packb))
        elif kind == "trials":
            entries = [msgpack.unpackb(item) for item in split_items(body["payload"])]
            body["payload"] = b"".join(map(msgpack.packb, inside(data, entries)))
        elif kind == "claim" and body["payload"]:
            body["payload"] = msgpack.packb(mutated(data, msgpack.unpackb(body["payload"])))
        return body

    try:
        put(fuzzed, pos, change)
        use(fuzzed)
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)


def inside(data: st.DataObject, entries: list[Any]) -> list[Any]:
    """Return the entries with one of them, or its document, changed."""
    index = data.draw(st.integers(0, len(entries) - 1))
    if data.draw(st.booleans()) and entries[index][0] in ("start", "end", "queued"):
        document = mutated(data, msgpack.unpackb(entries[index][4], strict_map_key=False))
        entries[index][4] = msgpack.packb(document)
    else:
        entries[index] = mutated(data, entries[index])
    return entries


@MANY
@given(st.data())
def test_any_change_of_a_snapshot_is_ignored_or_read(
    fuzzed: FolderStore, data: st.DataObject
) -> None:
    """Changed heads, states and trials of a snapshot with right checksums do no harm."""
    path, body = snapshot_of(fuzzed)
    state = zlib.decompress(body["state"])
    parts = [msgpack.unpackb(part) for part in split_items(state)]
    if data.draw(st.booleans()):
        body["head"] = mutated(data, body["head"])
    else:
        index = data.draw(st.integers(0, len(parts) - 1))
        parts[index] = mutated(data, parts[index])
        body["state"] = zlib.compress(b"".join(map(msgpack.packb, parts)))
    path.write_bytes(frame(body))
    use(fuzzed)
    path.unlink()


@MANY
@given(
    st.sampled_from(
        [
            "cdt_beat",
            "cdt_first",
            "cdt_records",
            "cdt_export",
            "cdt_hint",
            "cdt_best",
            "cdt_backups",
        ]
    ),
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.sampled_from(["inf", "-inf", "nan", "1e999", "-1", "9" * 60, "1_0", "٣", "0x1", ""]),
    ),
)
def test_any_property_is_damage_or_nothing(fuzzed: FolderStore, key: str, text: str) -> None:
    """Any text in a property, also in the heartbeat of a claim, is damage or has no effect."""
    folder = find_folder(fuzzed, "search")
    assert folder is not None
    place = folder.first if key == "cdt_beat" else folder.id
    before = fuzzed.stat(place).properties.get(key, "")
    try:
        fuzzed.set_properties(place, {key: text})
        use(fuzzed)
    finally:
        fuzzed.set_properties(place, {key: before})


def test_a_history_applies_a_record_completely_or_not_at_all(store: FolderStore) -> None:
    """A valid item before an invalid one in the same record is not applied either."""
    history = read_history(store, "search")
    before = history.dump()
    good = items_of(store, trials_records(store)[0])[0]
    record = decode_record(chain(store)[1].read_bytes(), "it")
    strange = msgpack.packb(["start", 9, 9, {"next": "x"}, b""])
    for payload in (good + strange, strange):
        with pytest.raises(SearchDamagedError):
            history.apply(dataclasses.replace(record, kind="trials", payload=payload))
        assert history.dump() == before
    assert isinstance(history, History)
