"""hyperopt's attachments: each recorded as it is set, and loaded when it is asked for."""

import hashlib
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.codec import decode, encode
from colab_drive_tuner.checkpoint.history import Beside
from colab_drive_tuner.errors import NotFoundError, SearchDamagedError
from colab_drive_tuner.store.protocol import Store

if TYPE_CHECKING:
    Attached = UserDict[str, Any]
else:
    Attached = UserDict


class Attachments(Attached):
    """The attachments of a search, by hyperopt's names; pickled or copied, a plain dict of them."""

    def __init__(
        self,
        stored: Mapping[str, bytes | Beside],
        record: Callable[[str, bytes | None], None],
        store: Store,
    ) -> None:
        super().__init__()
        self._stored, self._record, self._store = dict(stored), record, store
        self.data.update(dict.fromkeys(self._stored))

    def __getitem__(self, name: str) -> Any:
        if name in self._stored:
            self.data[name] = load_attachment(self._store, name, self._stored[name])
            del self._stored[name]
        return self.data[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._record(name, encode(value, where=f"attachments[{name!r}]"))
        self._stored.pop(name, None)
        self.data[name] = value

    def __delitem__(self, name: str) -> None:
        del self.data[name]
        self._stored.pop(name, None)
        self._record(name, None)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def load_attachment(store: Store, name: str, stored: bytes | Beside) -> Any:
    """The value of an attachment; raises `SearchDamagedError` where its file is not what it was."""
    if isinstance(stored, bytes):
        return decode(stored)
    try:
        content = store.read(stored.id)
    except NotFoundError as error:
        raise SearchDamagedError(
            f"The file of attachment {name!r} was deleted: bring it back from the trash, or set "
            f"the attachment anew."
        ) from error
    if hashlib.sha256(content).hexdigest() != stored.sha:
        raise SearchDamagedError(
            f"The file of attachment {name!r} was cut or altered: set the attachment anew."
        )
    return decode(content)
