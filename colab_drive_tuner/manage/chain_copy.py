"""Copy of a search's chain for another store: the same content under new ids.

Ids are reserved for one account of one store, and each record names the ids of its successors.
A copy therefore gets new records: consecutive trial records of one session are merged into one, and
all references to ids and checksums are translated. The copy includes the search's kept histories.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.chain import Head
from colab_drive_tuner.journal.chain.record import (
    ClaimReason,
    Record,
    RecordKind,
    encode_record,
)
from colab_drive_tuner.journal.claim_and_takeover import this_process
from colab_drive_tuner.journal.folder.properties import SearchFolder
from colab_drive_tuner.journal.writer import ID_BLOCK
from colab_drive_tuner.manage.exclusive_access import HeldSearch
from colab_drive_tuner.store.protocol import Store

_MERGED_BYTES = 2 << 20
"""Trial records are merged up to this total payload size."""


@dataclass
class ChainCopy:
    """A copied chain, built record by record."""

    ids: list[str]
    """The ids of all records, followed by ids reserved for later ones."""
    records: list[Record] = field(default_factory=list)
    epochs: dict[str, str] = field(default_factory=dict)
    """Maps the epoch of each history in the original to its epoch in the copy."""
    history: History = field(default_factory=History)
    """The state replayed from the copied records."""
    head: Head = field(init=False)

    def __post_init__(self) -> None:
        self.head = Head(0, "", (self.ids[0],))

    def append(self, **fields: Any) -> str:
        """Append a record with these fields and return its checksum."""
        more = () if self.records else tuple(self.ids[1:])
        encoded = encode_record(Record(pos=self.head.pos, prev=self.head.sha, more=more, **fields))
        self.history.apply(encoded)
        self.head = self.head.after(encoded)
        self.records.append(encoded)
        return encoded.sha


def copy_chain(
    original: HeldSearch,
    records: Sequence[Record],
    files: Mapping[str, str],
    target: Store,
    folder: SearchFolder,
    name: str,
) -> ChainCopy:
    """Build the chain of the copy called `name` in `folder` of the target.

    `files` maps ids of attachment files in the original to those in the copy. In the copy, the
    claim of the session that holds the original belongs to the target's account and is released.
    If no session holds the original, an empty session with the original's claim reason is added.
    """
    groups = _merged(records)
    ids = [folder.first, *target.reserve(len(groups) + 1 + ID_BLOCK)]
    copy, holder = ChainCopy(ids), original.owner
    for group in groups:
        first = group[0]
        claimant = first.claimant
        if claimant is not None and first.owner == holder:
            claimant = replace(claimant, account=target.account)
        sha = copy.append(
            kind=first.kind,
            owner=first.owner,
            payload=b"".join(record.payload for record in group),
            # As after a repair: no other runtime created this folder at the same moment.
            reason=first.reason if copy.records else ClaimReason.REBUILT,
            claimant=claimant,
            search=name,
            home=target.root,
            careful=first.careful,
            files={sha: files[old] for record in group for sha, old in record.files.items()},
            at=first.at,
        )
        if first.pos == 0 or first.kind == RecordKind.RESET:
            copy.epochs[first.sha] = sha
    if not holder:
        holder = secrets.token_hex(16)
        copy.append(
            kind=RecordKind.CLAIM,
            owner=holder,
            reason=original.reason,
            claimant=this_process(target.account),
            search=name,
            home=target.root,
        )
    copy.append(kind=RecordKind.RELEASE, owner=holder)
    return copy


def _merged(records: Sequence[Record]) -> list[list[Record]]:
    """Group the records: consecutive trial records of one session become one record."""
    groups: list[list[Record]] = []
    size = 0
    for record in records:
        last = groups[-1][-1] if groups else None
        size += len(record.payload)
        if (
            last is not None
            and record.kind == last.kind == RecordKind.TRIALS
            and record.owner == last.owner
            and size <= _MERGED_BYTES
        ):
            groups[-1].append(record)
        else:
            groups.append([record])
            size = len(record.payload)
    return groups


def require_equal(copied: History, original: History, name: str) -> None:
    """Raise `SearchDamagedError` if the two histories differ in content."""
    if _comparable(copied) != _comparable(original):
        raise SearchDamagedError(
            f"The copy of search {name!r} would differ from the original, so none was made: "
            f"`colab-drive-tuner doctor` shows what is wrong with the original."
        )


def _comparable(history: History) -> list[Any]:
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


def is_continuation(history: History, original: History) -> bool:
    """Whether `history` contains all of `original`: a copy of it that may have been continued."""
    for tid, entry in original.trials.items():
        copied = history.trials.get(tid)
        if copied is None or (entry.end is not None and copied.document != entry.document):
            return False
    lines = original.study.lines
    if history.study.lines[: len(lines)] != lines:
        return False
    fixed = ("rstate", "seed", "space")
    return all(history.settings.get(key) == original.settings.get(key) for key in fixed) and (
        original.attachments.keys() <= history.attachments.keys()
    )
