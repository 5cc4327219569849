"""The chain of a search written anew for another store: the same content under other ids.

Ids are reserved for one account of one store, and records name the ids of those after them. So a
copy gets records of its own: each says what the original's says, those of trials are joined where
one session wrote them one after another, and all that names an id or a checksum names the copy's.
Every history that the chain keeps goes with it.
"""

import hashlib
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.chain import Head
from colab_drive_tuner.journal.chain.record import (
    Claimant,
    ClaimReason,
    EncodedRecord,
    Record,
    RecordKind,
    encode_record,
)
from colab_drive_tuner.journal.writer import ID_BLOCK
from colab_drive_tuner.machine import machine_id
from colab_drive_tuner.runtime import runtime_name

_LARGEST = 2 << 20
"""Bytes of content up to which records are joined."""


@dataclass
class ChainCopy:
    """A chain that says what another one says."""

    ids: list[str]
    """The id of each record, and those of records to come."""
    records: list[EncodedRecord] = field(default_factory=list)
    epochs: dict[str, str] = field(default_factory=dict)
    """The epoch of each history in the copy, by that in the original."""
    history: History = field(default_factory=History)
    """What the copy says."""
    head: Head = field(init=False)

    def __post_init__(self) -> None:
        self.head = Head(0, "", (self.ids[0],))

    def add(self, encoded: EncodedRecord) -> None:
        """Add the next record."""
        self.history.apply(encoded.record)
        self.head = self.head.after(encoded.record)
        self.records.append(encoded)


def joined(records: Sequence[Record]) -> list[list[Record]]:
    """The records, those of trials that one session wrote one after another together."""
    groups: list[list[Record]] = []
    size = 0
    for record in records:
        last = groups[-1][-1] if groups else None
        size += len(record.payload)
        of_trials = last is not None and record.kind == last.kind == RecordKind.TRIALS
        if last is not None and of_trials and record.owner == last.owner and size <= _LARGEST:
            groups[-1].append(record)
        else:
            groups.append([record])
            size = len(record.payload)
    return groups


def ids_needed(groups: Sequence[Sequence[Record]]) -> int:
    """How many ids a copy of these records takes, those of its next records included."""
    return len(groups) + 2 + ID_BLOCK


def copy_chain(
    groups: Sequence[Sequence[Record]],
    ids: Sequence[str],
    files: Mapping[str, str],
    account: str,
    *,
    search: str,
    home: str,
    holder: str,
    reason: ClaimReason,
) -> ChainCopy:
    """The chain as that of `search` in the store `home`; the first id is that of its first record.

    `files` are the ids that files of the original have in the copy. `holder` is the session that
    holds the original for this copy: in the copy it is the account's, and has released it. Where
    nobody does, a session is added that did nothing else, after one that ended for this `reason`.
    """
    copy = ChainCopy(ids=list(ids))
    for group in groups:
        first = group[0]
        claimant = first.claimant
        if claimant is not None and first.owner == holder:
            claimant = replace(claimant, account=account)
        _add(
            copy,
            kind=first.kind,
            owner=first.owner,
            payload=b"".join(record.payload for record in group),
            # As of one that `repair` made: nobody made it at the same moment as another folder.
            reason=first.reason if copy.records else ClaimReason.REBUILT,
            claimant=claimant,
            search=search,
            home=home,
            careful=first.careful,
            files={sha: files[one] for record in group for sha, one in record.files.items()},
            at=first.at,
        )
        if first.pos == 0 or first.kind == RecordKind.RESET:
            copy.epochs[first.sha] = copy.records[-1].record.sha
    if not holder:
        holder = secrets.token_hex(16)
        named = {"search": search, "home": home}
        here = Claimant(machine_id(), os.getpid(), socket.gethostname(), account, runtime_name())
        _add(copy, kind=RecordKind.CLAIM, owner=holder, reason=reason, claimant=here, **named)
    _add(copy, kind=RecordKind.RELEASE, owner=holder)
    return copy


def _add(copy: ChainCopy, **fields: Any) -> None:
    more = copy.ids[1:] if not copy.records else ()
    prev = copy.records[-1].record.sha if copy.records else ""
    record = Record(pos=len(copy.records), prev=prev, more=tuple(more), **fields)
    copy.add(encode_record(record))


def content_of(history: History) -> list[Any]:
    """What must be equal in a search and its copy."""
    return [
        history.settings,
        history.next_tid,
        history.study.digest,
        [
            (e.tid, e.k, e.document, e.end, e.loss, e.model, sorted(e.attempts.items()))
            for e in history.trials.values()
        ],
        {
            name: hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value.sha
            for name, value in history.attachments.items()
        },
    ]


def contains(history: History, other: History) -> bool:
    """Whether a history has all that another one has: it is a copy that may have gone on."""
    for tid, entry in other.trials.items():
        here = history.trials.get(tid)
        if here is None or (entry.end is not None and here.document != entry.document):
            return False
    lines = other.study.lines
    if history.study.lines[: len(lines)] != lines:
        return False
    fixed = ("rstate", "seed", "space")
    return all(history.settings.get(key) == other.settings.get(key) for key in fixed) and (
        other.attachments.keys() <= history.attachments.keys()
    )


def require_equal(copied: History, original: History, name: str) -> None:
    """Raise where the copy would say something else."""
    if content_of(copied) != content_of(original):
        raise SearchDamagedError(
            f"The copy of search {name!r} would not say the same, so none was made: "
            f"`colab-drive-tuner doctor` shows what is wrong with the original."
        )
