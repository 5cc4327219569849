"""What a folder store keeps about each id: a small file, read with suspicion.

Others may be able to write to the folder, so a description that names a file outside of its place
describes nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from colab_drive_tuner.errors import UsageError

_FILE_NAME = re.compile(r"[^./\\\0][^/\\\0]*")


@dataclass(frozen=True)
class Description:
    """What an id was used for: written once, changed only when it goes into the trash."""

    id: str
    name: str
    parent: str
    file: str
    """The visible file name in the parent's folder: `name`, as far as a disk can bear it."""
    created: float
    is_folder: bool
    properties: dict[str, str]
    trashed: bool = False

    @property
    def trash_name(self) -> str:
        """The file name under which it lies in the trash, where names meet again."""
        stem, dot, ending = self.file.partition(".")
        return f"{stem}~{self.id}{dot}{ending}"


def encode(described: Description) -> bytes:
    """The content of a description's file."""
    return json.dumps(asdict(described)).encode()


def decode(content: bytes) -> Description | None:
    """The description, or None where the bytes are none: half-written, or not honest."""
    try:
        values = json.loads(content)
        described = Description(**values)
    except (ValueError, TypeError):
        return None
    texts = (values[key] for key in ("id", "name", "parent", "file"))
    plain = (
        all(isinstance(text, str) for text in texts)
        and isinstance(values["created"], float)
        and isinstance(values["properties"], dict)
    )
    return described if plain and _FILE_NAME.fullmatch(described.file) else None


def check_properties(properties: Mapping[str, str]) -> None:
    """Refuse, by `UsageError`, what Drive could not keep either."""
    for key, value in properties.items():
        if len(key.encode()) + len(value.encode()) > 124:
            raise UsageError(
                f"The property {key!r} is too long: key and value have 124 bytes together."
            )
