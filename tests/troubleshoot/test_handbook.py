"""docs/troubleshooting.md has an entry for each error, found by the error's name."""

import inspect
import re
from pathlib import Path

import pytest

from colab_drive_tuner import errors
from colab_drive_tuner.cli.app import app

HANDBOOK = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
CLASSES = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}


def entries() -> dict[str, str]:
    """Return the text below each heading."""
    parts = re.split(r"^## (.+)$", HANDBOOK.read_text("utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_error_and_warning_has_an_entry_and_no_other_has():
    """The page has an entry for each class of `errors`, and no other entry."""
    assert set(entries()) == CLASSES


def test_the_entries_stand_in_the_order_of_the_module():
    """The entries have the order of the module, so that related errors are together."""
    defined = [name for name in vars(errors) if name in CLASSES]
    assert [name for name in entries() if name in vars(errors)] == defined


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_entry_says_what_to_do(name):
    """Each entry has an instruction, and its commands exist."""
    text = entries()[name]
    doing = (
        r"\b(run|choose|pass|leave|restore|return|correct|look up|install|sign in|check|ask|"
        r"free|save|go on|stop|inside must|name)\b"
    )
    assert re.search(doing, text, re.IGNORECASE)
    commands = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback is not None
    }
    assert set(re.findall(r"`colab-drive-tuner ([a-z]+)", text)) <= commands
