"""Escaping of untrusted text: control and invisible characters are shown as escapes."""

import unicodedata

import pytest

from colab_drive_tuner.text import visible


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("\x1b]52;c;aGk=\x1b\\", "\\x1b]52;c;aGk=\\x1b\\"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("good\rbad\x08\x7f", r"good\rbad\x08\x7f"),
        ("a\nsearch 'x': ok", r"a\nsearch 'x': ok"),
        ("\u2028\u2029\x0b\x0c", r"\u2028\u2029\x0b\x0c"),
        ("\u202egpj.exe\u202c", r"\u202egpj.exe\u202c"),
        ("\u2066a\u2069\u200e\u061c", r"\u2066a\u2069\u200e\u061c"),
        ("a\u200bb\u200db\ufeff\u2060\xad", r"a\u200bb\u200db\ufeff\u2060\xad"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("a\U000e0041\ufe0f\u3164", r"a\U000e0041\ufe0f\u3164"),
    ],
)
def test_control_and_direction_characters_are_shown(hostile: str, shown: str) -> None:
    """Control, direction and invisible characters are escaped; escaping twice changes nothing."""
    assert visible(hostile) == shown
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d💻",
        "👩\u200d❤\ufe0f\u200d👨",
        "🏳\ufe0f\u200d🌈",
        "🧑🏽\u200d🚀",
        "1\ufe0f⃣",
        "☎\ufe0e",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "全\u3000角 grüß \u00a0 שלום",
    ],
)
def test_emoji_and_scripts_stay_whole(text: str) -> None:
    """Emoji, also those of several characters, and other scripts are not escaped."""
    assert visible(text) == text


def test_lines_may_stay() -> None:
    """With `lines=True` line feeds stay; carriage returns are escaped."""
    assert visible("a\nb\r\n\x1b", lines=True) == "a\nb\\r\n\\x1b"


def test_no_control_format_or_surrogate_character_passes_alone() -> None:
    """Each control, format, surrogate and line separator character of Unicode is escaped."""
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert visible(chr(code)) != chr(code), hex(code)
