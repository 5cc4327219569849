"""`History`, the state of a search, folded from its records without decoding any document.

The journal folds it. It holds the settings, the newest document of each trial (encoded), how each
trial ended, and which sessions died in it (rule ATTEMPTS of docs/protocol.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack

from colab_drive_tuner.checkpoint.record_items import (
    MAX_TID,
    REAL_ENDS,
    VERSION,
    Item,
    ItemKind,
    Tid,
    TrialEnd,
    check_map,
    claim_payload,
    pack_item,
    read_claim,
    read_items,
    unpack_values,
)
from colab_drive_tuner.checkpoint.recorded_settings import OUTAGE, check_settings
from colab_drive_tuner.checkpoint.trials_and_sessions import (
    AttachmentFile,
    OptunaJournal,
    RecordedSession,
    RecordedTrial,
    line_item,
    process_label,
)
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.fields import decoding, load_row, typed, whole
from colab_drive_tuner.journal.chain.record import DEATHS, ClaimReason, Record, RecordKind

MAX_SESSIONS, MAX_OUTAGES = 1000, 100
"""Numbers of sessions and of outages per session that are kept, for display only."""


@dataclass(frozen=True)
class RecordedFacts:
    """What the records of a search say beside its trials, as results and reports show it."""

    done: int
    """Number of trials that count towards `max_evals`."""
    deaths: int
    """Number of sessions found dead by the next one."""
    settings: Mapping[str, Any]
    sessions: Sequence[RecordedSession]
    """The newest sessions, oldest first."""


class History:
    """The state of one search after a prefix of its chain."""

    def __init__(self) -> None:
        self.owner = ""
        self.sessions = 0
        """Number of claims since the history began."""
        self.timeline: list[RecordedSession] = []
        """The newest sessions, oldest first."""
        self._reset()

    def _reset(self) -> None:
        """Set the state before any trial is recorded: at first, and after a reset record."""
        self.settings: dict[str, Any] = {}
        """rstate (encoded), seed, algorithm, max_evals, fingerprints, ... from the claims."""
        self.trials: dict[Tid, RecordedTrial] = {}
        """By tid, in the order in which the trials were first named."""
        self.attachments: dict[str, bytes | AttachmentFile] = {}
        """Encoded values or file references, by hyperopt's names."""
        self.next_tid = 0
        self.deaths = 0
        """Number of sessions found dead by the next one."""
        self.study = OptunaJournal()
        """Journal of an Optuna study, which replaces the trials in such a search."""

    # -- folding

    def apply(self, record: Record) -> None:
        """Fold the next record into the state; raises `SearchDamagedError` if it is invalid."""
        settings, items = self._read(record)  # validate before changing anything
        self._note_session(record)
        if record.kind == RecordKind.CLAIM:
            if record.reason == ClaimReason.TAKEOVER:
                self._discard_attempts(self.owner)
            self.sessions += 1
            self.deaths += record.reason in DEATHS
            self.owner = record.owner
        elif record.kind == RecordKind.RELEASE:
            self._discard_attempts(record.owner)
        elif record.kind == RecordKind.RESET:
            self._reset()
            self.sessions, self.timeline = 1, self.timeline[-1:]
        if settings:
            self._update_settings(settings)
        for item in items:
            self._apply_item(item, record)

    def _note_session(self, record: Record) -> None:
        if record.claimant is not None:
            if self.timeline and not self.timeline[-1].end:
                self.timeline[-1].end = record.reason
            who = record.claimant
            where = process_label(who.runtime, who.pid, who.host)
            self.timeline = [
                *self.timeline[1 - MAX_SESSIONS :],
                RecordedSession(where, record.at, record.at),
            ]
        elif self.timeline and record.owner == self.owner:
            self.timeline[-1].last = record.at
            if record.kind == RecordKind.RELEASE:
                self.timeline[-1].end = ClaimReason.RELEASED

    def _read(self, record: Record) -> tuple[dict[str, Any], list[Item]]:
        what, settings, items = f"Record {record.pos}", dict[str, Any](), list[Item]()
        if record.kind == RecordKind.TRIALS:
            items = read_items(record.payload, what)
        elif record.kind in (RecordKind.CLAIM, RecordKind.RESET):
            settings, items = read_claim(record.payload, what)
        for item in items:
            if item.kind == ItemKind.ATTACHMENT and item.sha and item.sha not in record.files:
                raise SearchDamagedError(f"{what} attaches {item.name!r:.60} without its file.")
        check_calls((item.k for item in items), len(self.trials) + len(items), what)
        return settings, items

    def _update_settings(self, settings: dict[str, Any]) -> None:
        # The first rstate and seed are kept until a reset: every suggestion derives from them.
        fixed = ("rstate", "seed") if "rstate" in self.settings else ()
        kept = {key: self.settings[key] for key in fixed if key in self.settings}
        settings = {key: value for key, value in settings.items() if key not in fixed}
        self.settings = self.settings | settings | kept

    def _apply_item(self, item: Item, record: Record) -> None:
        match item.kind:
            case ItemKind.SETTINGS:
                settings = dict(item.settings or {})
                if (outage := settings.pop(OUTAGE, None)) and self.timeline:
                    session = self.timeline[-1]
                    session.outages = [*session.outages, outage][-MAX_OUTAGES:]
                self._update_settings(settings)
            case ItemKind.ATTACHMENT:
                self._attach(item, record.files)
            case ItemKind.LOG:
                self.study.append(item)
            case ItemKind.QUEUED | ItemKind.START | ItemKind.END:
                self._apply_trial(item, record)

    def _apply_trial(self, item: Item, record: Record) -> None:
        entry = self.trials.get(item.tid)
        if entry is None:
            entry = self._add_trial(item)
        elif item.kind != ItemKind.START and entry.end in REAL_ENDS:
            return  # the first real end counts
        entry.document, entry.record = item.document, record.pos
        after = item.tid + 1 if isinstance(item.tid, int) else 0
        self.next_tid = max(self.next_tid, after, item.next_tid)
        if item.kind == ItemKind.END:
            entry.end, entry.loss, entry.model, entry.attempts = item.how, item.loss, item.model, {}
            entry.pruned = item.pruned
            return
        if entry.end == TrialEnd.GIVEN_UP:
            entry.attempts = {}  # it is run again from the beginning
        entry.end = entry.loss = None
        if item.kind == ItemKind.START:
            self._note_attempt(entry, record.owner, item)

    def _add_trial(self, item: Item) -> RecordedTrial:
        """Add a new trial; one that was missing between others is inserted by its tid.

        Finished documents inserted by users stay in the order of insertion.
        """
        entry = RecordedTrial(item.tid, item.k, item.document, pending=item.pending)
        behind: list[Tid] = []
        if isinstance(item.tid, int) and (item.k is not None or item.kind == ItemKind.QUEUED):
            for tid in reversed(self.trials):
                if not isinstance(tid, int) or tid < item.tid:
                    break
                behind.append(tid)
        self.trials[item.tid] = entry
        for tid in reversed(behind):
            self.trials[tid] = self.trials.pop(tid)
        return entry

    def _note_attempt(self, entry: RecordedTrial, owner: str, start: Item) -> None:
        deaths = {f"{owner}/{number}": start.progress for number in range(1, start.deaths + 1)}
        # Attempts after which the trial has made progress do not count.
        entry.attempts = {
            key: progress
            for key, progress in (deaths | entry.attempts).items()
            if progress >= start.progress
        } | {owner: start.progress}

    def _discard_attempts(self, owner: str) -> None:
        """Remove the attempts of a session that did not die: it released, or was taken over."""
        for entry in self.trials.values():
            if entry.attempts:
                entry.attempts.pop(owner, None)

    def _attach(self, item: Item, files: Mapping[str, str]) -> None:
        if not item.is_set:
            self.attachments.pop(item.name, None)
        elif item.sha:
            self.attachments[item.name] = AttachmentFile(files[item.sha], item.sha)
        else:
            self.attachments[item.name] = item.document

    # -- queries

    @property
    def done(self) -> int:
        """Number of trials that count towards `max_evals`."""
        # `list` copies in one step: the writer's thread may be applying a record.
        return sum(entry.counts for entry in list(self.trials.values()))

    @property
    def facts(self) -> RecordedFacts:
        """What is recorded beside the trials."""
        return RecordedFacts(self.done, self.deaths, self.settings, tuple(self.timeline))

    @property
    def best_loss(self) -> float | None:
        """Lowest loss of a trial with status ok."""
        losses = [entry.loss for entry in self.trials.values() if entry.loss is not None]
        return min(losses, default=None)

    @property
    def unfinished(self) -> list[RecordedTrial]:
        """Trials that a new session inherits, in the order in which they were named."""
        return [entry for entry in self.trials.values() if entry.unfinished]

    def out_of_attempts(self, max_attempts: float) -> list[RecordedTrial]:
        """Return the unfinished trials with at least `max_attempts` attempts."""
        return [entry for entry in self.unfinished if len(entry.attempts) >= max_attempts]

    # -- the whole history encoded: as a snapshot, and as one claim or reset

    def consolidated_claim(self, settings: Mapping[str, Any]) -> bytes:
        """Return the payload of a claim with all trials and how they ended, to begin a chain.

        For a study, it has all lines of its journal.
        """
        lines = (
            line_item(line, self.study.session, at, OptunaJournal.digest)
            for at, line in enumerate(self.study.lines)
        )
        return claim_payload(self.settings | dict(settings), [*self._trial_items(), *lines])

    def consolidated_reset(self) -> tuple[bytes, dict[str, str]]:
        """Return the payload of a reset with the whole history, and its files (`Record.files`)."""
        items, files = self._trial_items(), dict[str, str]()
        for name, value in self.attachments.items():
            attachment = partial(pack_item, ItemKind.ATTACHMENT, name=name, is_set=True)
            if isinstance(value, AttachmentFile):
                items.append(attachment(sha=value.sha))
                files[value.sha] = value.id
            else:
                items.append(attachment(document=value))
        return claim_payload(self.settings, items), files

    def _trial_items(self) -> list[bytes]:
        return [
            pack_item(
                ItemKind.QUEUED if entry.end is None else ItemKind.END,
                entry.tid,
                entry.k,
                entry.document,
                next_tid=self.next_tid,
                pending=entry.pending,
                how=entry.end,
                loss=entry.loss,
                model=entry.model,
                pruned=entry.pruned,
            )
            for entry in self.trials.values()
        ]

    def dump(self) -> bytes:
        """Encode the whole history, joining the documents, which are encoded already."""
        packer = msgpack.Packer(use_bin_type=True)
        head = {
            "v": VERSION,
            "settings": self.settings,
            "next": self.next_tid,
            "owner": self.owner,
            "sessions": self.sessions,
            "deaths": self.deaths,
            "timeline": [session.dump() for session in self.timeline],
            "attachments": self.attachments,
        }
        if self.study.lines:
            head["study"] = self.study.dump()
        parts = [packer.pack(head)]
        # One call per trial, because each call holds the interpreter, which training needs.
        parts += [packer.pack(entry.dump()) for entry in list(self.trials.values())]
        return b"".join(parts)

    @classmethod
    def load(cls, content: bytes) -> "History":
        """Decode the result of `dump`; raises `SearchDamagedError` for anything else."""
        what = "The snapshot"
        with decoding(what):
            values = unpack_values(content)
            head = check_map(next(values, None), what)
            history = cls()
            history.settings = check_settings(head["settings"])
            history.attachments = {
                typed(name, str): value if type(value) is bytes else load_row(AttachmentFile, value)
                for name, value in typed(head["attachments"], dict).items()
            }
            history.next_tid = whole(head["next"], MAX_TID + 1)
            history.owner = typed(head["owner"], str)
            history.sessions, history.deaths = whole(head["sessions"]), whole(head["deaths"])
            if "study" in head:
                history.study = load_row(OptunaJournal, head["study"])
            history.timeline = [
                load_row(RecordedSession, one) for one in typed(head["timeline"], list)
            ]
            for fields in values:
                entry = load_row(RecordedTrial, fields)
                history.trials[entry.tid] = entry
        entries = history.trials.values()
        check_calls((entry.k for entry in entries), len(entries), what)
        return history

    def check(self) -> None:
        """Decode every document; raises `SearchDamagedError` for the first invalid one."""
        for entry in self.trials.values():
            entry.decoded()


def check_calls(calls: Iterable[int | None], trials: int, what: str) -> None:
    """Raise `SearchDamagedError` if a trial names an impossibly high call of the algorithm.

    A resumed search draws a seed for every earlier call, which would then take forever.
    """
    last = max((k for k in calls if k is not None), default=0)
    if last > 1_000_000 + 100 * trials:
        raise SearchDamagedError(
            f"{what} names call {last} of the algorithm, which cannot have happened."
        )
