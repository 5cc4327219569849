"""What a chain says of its search, folded record by record without decoding a document.

This is the journal's `State`. It holds the settings, the newest document of each trial (as encoded
bytes), how each trial ended, and which sessions died in it (PROTOCOL, rule ATTEMPTS).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from colab_drive_tuner.checkpoint.codec import decode, encode
from colab_drive_tuner.checkpoint.items import (
    ATTACHMENT,
    CAUGHT,
    DONE,
    END,
    ENDS,
    GIVEN_UP,
    QUEUED,
    RAISED,
    REAL_ENDS,
    SETTINGS,
    START,
    VERSION,
    Item,
    Tid,
    read_claim,
    read_items,
    unpack_map,
)
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.record import Record

_NO_FILES: Mapping[str, str] = {}


class Beside(NamedTuple):
    """Where a large attachment lies: in a file beside the chain."""

    id: str
    sha: str


@dataclass(slots=True)
class TrialEntry:
    """What the chain says of one trial."""

    tid: Tid
    k: int | None
    """Which call of the algorithm suggested it; None: none did."""
    document: bytes
    """The newest document, encoded."""
    end: str | None = None
    """How it ended (see `items.ENDS`); None: it has not."""
    loss: float | None = None
    """Where it ended with status ok and a loss that is not NaN."""
    model: bool = False
    """Whether its result held a model."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Sessions that started it, left no end of it and have no excuse, with its progress then."""

    @property
    def counts(self) -> bool:
        """Whether it counts towards `max_evals` as done."""
        return self.end in (DONE, CAUGHT, GIVEN_UP)

    @property
    def unfinished(self) -> bool:
        """Whether a later session must run it: no end, or an error that ended the run."""
        return self.end in (None, RAISED)


class History:
    """The state of one search after a prefix of its chain."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        """rstate (encoded), seed, algorithm, max_evals, fingerprints, ... as the claims said."""
        self.trials: dict[Tid, TrialEntry] = {}
        """By tid, in the order in which the trials were first named."""
        self.attachments: dict[str, bytes | Beside] = {}
        """Encoded values, or where they lie, by hyperopt's names."""
        self.next_tid = 0
        self.owner = ""
        self.sessions = 0
        """How many claims this history has seen."""
        self.deaths = 0
        """How many of them found the session before dead."""

    # -- folding

    def apply(self, record: Record) -> None:
        """Take in the next record; raises `SearchDamagedError` where its content makes no sense."""
        what = f"Record {record.pos}"
        if record.kind == "claim":
            if record.reason == "takeover":
                self._excuse(self.owner)
            self.sessions += 1
            self.deaths += record.reason in ("dead", "stale")
            self.owner = record.owner
            self._claim(record.payload, record.owner, what)
        elif record.kind == "trials":
            for item in read_items(record.payload, what):
                self._take(item, record.owner, record.files)
        elif record.kind == "release":
            self._excuse(record.owner)
        elif record.kind == "reset":
            owner = self.owner
            self.__init__()  # type: ignore[misc]  # a reset is a new beginning, in the same chain
            self.owner, self.sessions = owner, 1
            self._claim(record.payload, record.owner, what)

    def _claim(self, payload: bytes, owner: str, what: str) -> None:
        settings, queued = read_claim(payload, what)
        self._set(settings)
        for item in queued:
            self._take(item, owner)

    def _set(self, settings: dict[str, Any]) -> None:
        # The first stream of seeds holds until a reset: every suggestion came from it.
        fixed = ("rstate", "seed") if "rstate" in self.settings else ()
        kept = {key: self.settings[key] for key in fixed if key in self.settings}
        settings = {key: value for key, value in settings.items() if key not in fixed}
        self.settings = self.settings | settings | kept

    def _take(self, item: Item, owner: str, files: Mapping[str, str] = _NO_FILES) -> None:
        info = item.info or {}
        if item.kind == SETTINGS:
            self._set(dict(info))
            return
        if item.kind == ATTACHMENT:
            self._attach(item, info, files)
            return
        entry = self.trials.get(item.tid)
        if entry is None:
            entry = self._name(item)
        elif item.kind in (END, QUEUED) and entry.end in REAL_ENDS:
            return  # the first real end holds
        entry.document = item.document
        after = item.tid + 1 if isinstance(item.tid, int) else 0
        self.next_tid = max(self.next_tid, after, int(info.get("next", 0)))
        if item.kind == END:
            entry.end, entry.loss = str(info["how"]), info.get("loss")
            entry.model, entry.attempts = bool(info.get("model")), {}
            return
        if entry.end == GIVEN_UP:
            entry.attempts = {}  # it is tried again from the beginning
        entry.end = entry.loss = None
        if item.kind == START:
            self._attempt(entry, owner, int(info.get("progress", 0)))

    def _name(self, item: Item) -> TrialEntry:
        """Take in a new trial; one that was missing between others goes where it belongs.

        Finished documents that people insert stay as inserted.
        """
        entry = TrialEntry(item.tid, item.k, item.document)
        behind: list[Tid] = []
        if isinstance(item.tid, int) and (item.k is not None or item.kind == QUEUED):
            for tid in reversed(self.trials):
                if not isinstance(tid, int) or tid < item.tid:
                    break
                behind.append(tid)
        self.trials[item.tid] = entry
        for tid in reversed(behind):
            self.trials[tid] = self.trials.pop(tid)
        return entry

    def _attempt(self, entry: TrialEntry, owner: str, progress: int) -> None:
        # A death after which the trial is further than before was not a vain one.
        vain = {session: at for session, at in entry.attempts.items() if at >= progress}
        entry.attempts = vain | {owner: progress}

    def _excuse(self, owner: str) -> None:
        """A session that released, or was taken over alive, did not die of its trial."""
        for entry in self.trials.values():
            if entry.attempts:
                entry.attempts.pop(owner, None)

    def _attach(self, item: Item, info: Mapping[str, Any], files: Mapping[str, str]) -> None:
        name, sha = str(info.get("name", "")), info.get("sha")
        if not info.get("set"):
            self.attachments.pop(name, None)
        elif sha is None:
            self.attachments[name] = item.document
        elif sha in files:
            self.attachments[name] = Beside(files[sha], str(sha))
        else:
            raise SearchDamagedError(f"Attachment {name!r} names a file that no record does.")

    # -- asking

    @property
    def done(self) -> int:
        """How many trials count towards `max_evals`."""
        # A list is made in one step: the writer may be taking in a record meanwhile.
        return sum(entry.counts for entry in list(self.trials.values()))

    @property
    def best_loss(self) -> float | None:
        """The lowest loss of a trial with status ok."""
        losses = [entry.loss for entry in self.trials.values() if entry.loss is not None]
        return min(losses, default=None)

    @property
    def unfinished(self) -> list[TrialEntry]:
        """The trials that a new session inherits, in the order in which they were named."""
        return [entry for entry in self.trials.values() if entry.unfinished]

    def used_up(self, max_attempts: int) -> list[TrialEntry]:
        """The unfinished trials in which `max_attempts` sessions died."""
        return [entry for entry in self.unfinished if len(entry.attempts) >= max_attempts]

    # -- snapshot

    def dump(self) -> bytes:
        """The whole history as bytes, joined from documents that are encoded already."""
        packer = msgpack.Packer(use_bin_type=True)
        head = {
            "v": VERSION,
            "settings": self.settings,
            "next": self.next_tid,
            "owner": self.owner,
            "sessions": self.sessions,
            "deaths": self.deaths,
            "attachments": self.attachments,
        }
        parts = [packer.pack(head)]
        # In small steps: none of them may hold the interpreter for long (training runs beside).
        parts += [
            packer.pack([e.tid, e.k, e.document, e.end, e.loss, e.model, e.attempts])
            for e in list(self.trials.values())
        ]
        return b"".join(parts)

    @classmethod
    def load(cls, content: bytes) -> "History":
        """Read what `dump` wrote; raises `SearchDamagedError` for anything else."""
        what = "The snapshot"
        unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, max_buffer_size=max(len(content), 1)
        )
        unpacker.feed(content)
        try:
            unpacker.skip()
            head = unpack_map(content[: unpacker.tell()], what)
            history = cls()
            history.settings = dict(head["settings"])
            history.attachments = {
                name: value if isinstance(value, bytes) else Beside(*map(str, value))
                for name, value in dict(head["attachments"]).items()
            }
            history.next_tid, history.owner = int(head["next"]), str(head["owner"])
            history.sessions, history.deaths = int(head["sessions"]), int(head["deaths"])
            for fields in unpacker:
                entry = _entry(fields)
                history.trials[entry.tid] = entry
        except (KeyError, TypeError, ValueError, RecursionError, msgpack.UnpackException) as error:
            raise SearchDamagedError(f"{what} cannot be decoded: {error!r:.200}.") from error
        if unpacker.tell() != len(content):
            raise SearchDamagedError(f"{what} ends in the middle of a trial.")
        return history


def _entry(fields: Any) -> TrialEntry:
    tid, k, document, end, loss, model, attempts = fields[:7]
    right = (
        type(tid) in (int, str, float)
        and (k is None or type(k) is int)
        and isinstance(document, bytes)
        and (end is None or end in ENDS)
        and (loss is None or isinstance(loss, float))
        and isinstance(attempts, dict)
    )
    if not right:
        raise TypeError(f"trial {tid!r:.20} has wrong fields")
    return TrialEntry(tid, k, document, end, loss, bool(model), attempts)


def wanted(history: History, item: bytes) -> bool:
    """Whether the chain lacks this spooled entry (rule SPOOL).

    It lacks an end where the trial has no real end and, if it is named there, has the same
    parameters; a real end supersedes a give-up. It lacks the names of a batch where none of them
    is known.
    """
    spooled, *more = read_items(item, "A spooled entry")
    if spooled.kind == QUEUED:
        return not any(one.tid in history.trials for one in (spooled, *more))
    if spooled.kind == ATTACHMENT:
        name = str((spooled.info or {}).get("name"))
        ended = {f"ATTACH::{tid}" for tid, e in history.trials.items() if e.end in REAL_ENDS}
        return name not in history.attachments and name.rpartition("::")[0] not in ended
    if spooled.kind != END:
        return False
    entry = history.trials.get(spooled.tid)
    if entry is None:
        return True
    if entry.end in REAL_ENDS or (entry.end is not None and _how(spooled) not in REAL_ENDS):
        return False
    return _parameters(entry.document) == _parameters(spooled.document)


def _how(item: Item) -> Any:
    return (item.info or {}).get("how")


def _parameters(document: bytes) -> bytes:
    # Compared as bytes: equal parameters have equal encodings, whatever their types. One that was
    # not used counts as one that is not named.
    return encode({name: val for name, val in decode(document)["misc"]["vals"].items() if val})
