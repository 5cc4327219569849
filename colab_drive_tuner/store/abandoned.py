"""What a kill can leave in a folder store: creates that never came to be, and half an overwrite."""

from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.store.description import decode


def abandoned_creates(root: Path, before: float) -> Iterator[Path]:
    """The hidden files below `root` that no id stands for and that were last touched `before`.

    A create killed before its id was linked never happened: nobody can find its description and
    content, and nobody finishes it. An overwrite writes aside and renames.
    """
    hidden = root / ".store"
    for description in sorted((hidden / "in").glob("*/*.json")):
        described = decode(description.read_bytes())
        if description.stat().st_mtime >= before:
            continue  # perhaps it is being created at this moment
        if described is None or not (hidden / "ids" / described.id).exists():
            content = description.with_suffix(".new")
            yield from (path for path in (content, description) if path.is_file())
    for part in sorted(hidden.glob("new-*")):
        if part.is_file() and part.stat().st_mtime < before:
            yield part
