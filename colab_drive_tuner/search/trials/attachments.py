"""hyperopt's attachments, recorded when set and loaded when read; `trials.pkl`, which has them."""

import hashlib
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any, Self

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.pickles.writer import TrialsPickle
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, UsageError


class Attachments(UserDict[str, Any]):
    """The attachments of a search by name; a pickle or copy is a plain dict of their values."""

    def __init__(
        self, record: Callable[[str, bytes | None], None], read: Callable[[str], bytes]
    ) -> None:
        super().__init__()
        self._stored: dict[str, bytes | AttachmentFile] = {}
        self._record, self._read = record, read

    def restore(self, stored: Mapping[str, bytes | AttachmentFile]) -> None:
        """Replace the contents by the recorded attachments."""
        self._stored, self.data = dict(stored), dict.fromkeys(stored)

    def __getitem__(self, name: str) -> Any:
        if (stored := self._stored.get(name)) is not None:
            value = load_attachment(self._read, name, stored)
            if self._stored.get(name) is stored:  # no other thread has read or set it meanwhile
                self.data[name] = value
                self._stored.pop(name, None)
        return self.data[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise UsageError(f"The name of an attachment must be a text, not {name!r:.60}.")
        self._record(name, encode(value, where=f"attachments[{name!r}]"))
        self._stored.pop(name, None)
        self.data[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self.data:
            raise KeyError(name)
        self._record(name, None)
        self._stored.pop(name, None)
        self.data.pop(name, None)

    def __repr__(self) -> str:
        shown = []
        for name in self:
            is_unread = isinstance(self._stored.get(name), AttachmentFile)
            shown.append(f"{name!r}: {'<not read>' if is_unread else repr(self[name])}")
        return f"{{{', '.join(shown)}}}"

    # UserDict's own would copy what is not loaded yet as None, and `|=` would record nothing.

    def __copy__(self) -> Any:
        return dict(self)

    copy = __copy__

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]  # overloaded like `|`
        self.update(other)
        return self

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def load_attachment(read: Callable[[str], bytes], name: str, stored: bytes | AttachmentFile) -> Any:
    """Return the value of an attachment; `read` fetches its file (see `Journal.read_file`).

    Raises `SearchDamagedError` if the file is missing, or differs from what was attached.
    """
    if isinstance(stored, bytes):
        return decode_attachment(name, stored)
    try:
        content = read(stored.id)
    except NotFoundError as error:
        raise SearchDamagedError(
            f"The file of attachment {name!r} was deleted: restore it from the trash, or set "
            f"the attachment again."
        ) from error
    if hashlib.sha256(content).hexdigest() != stored.sha:
        raise SearchDamagedError(
            f"The file of attachment {name!r} was cut or altered: set the attachment again."
        )
    return decode_attachment(name, content)


def decode_attachment(name: str, content: bytes) -> Any:
    """Return the value that was attached; raise `SearchDamagedError` if it cannot be decoded."""
    try:
        return decode(content)
    except CodecError as error:
        raise SearchDamagedError(
            f"Attachment {name!r} cannot be decoded ({error}): set the attachment again."
        ) from error


class TrialsExport:
    """The `trials.pkl` of one search: plain hyperopt Trials.

    A call pickles only what has changed since the last one.
    """

    def __init__(self) -> None:
        self._pickle = TrialsPickle()
        self._taken: dict[Any, bytes] = {}

    def __call__(self, history: History, loaded: Mapping[str, Any] | None = None) -> bytes:
        """Return a pickle of plain Trials with this history.

        Large attachments are included only if `loaded` has them.
        """
        entries = list(history.trials.values())
        if not self._taken.keys() <= history.trials.keys():  # the search was reset
            self._pickle, self._taken = TrialsPickle(), {}
        for entry in entries:
            if self._taken.get(entry.tid) is not entry.document:
                self._pickle.replace(entry.decoded())
                self._taken[entry.tid] = entry.document
        inline = {
            name: decode_attachment(name, value)
            for name, value in history.attachments.items()
            if isinstance(value, bytes)
        }
        return self._pickle.join(inline | dict(loaded or {}))
