"""The runnable examples in the README and docs/ run and print the output shown."""

import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from colab_drive_tuner.hyperas import compat as hyperas_compat
from colab_drive_tuner.store import set_default_store
from tests.markdown_runner import ROOT, blocks, run_page

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNING = [page for page in PAGES if any(block.mark == "run" for block in blocks(page))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch, request):
    """In order, in an empty directory, without an account until a block says `in Drive`."""
    if page.stem == "hyperas" and find_spec("hyperas") is None:
        pytest.skip("hyperas is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # hyperas appends to it
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "")  # pages set it: to be undone afterwards
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a reader sees them, too
            assert run_page(page, lambda: request.getfixturevalue("drive_emulator"))
    finally:
        hyperas_compat.disable()
        set_default_store(None)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_begins_with_what_runs_anywhere(page):
    """Its first block needs no account and no Colab: nobody stumbles before having seen it work."""
    assert blocks(page)[0].mark == "run"


def test_the_readme_shows_the_cells_of_the_first_page():
    """They run there, so they need not run twice."""
    first_page = [block.text for block in blocks(ROOT / "docs" / "index.md")]
    readme = [block.text for block in blocks(ROOT / "README.md") if "docs/index.md" in block.mark]
    assert len(readme) == 2
    assert set(readme) <= set(first_page)


def page_of(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_a_broken_block_is_noticed(tmp_path, monkeypatch):
    """An error shows the page's line; so does another print, and a command that fails."""
    monkeypatch.chdir(tmp_path)
    skipped = "<!-- not run: it would fail -->\n```python\n1 / 0\n```\n\n"
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(page_of(tmp_path, skipped + "<!-- run -->\n```python\nx = 1\nx / 0\n```\n"))
    assert caught.traceback[-1].lineno + 1 == 9
    other = page_of(tmp_path, "<!-- a comment -->\n\n<!-- run -->\n```python\n1 + 1\n```\n")
    assert run_page(other) == 1
    printing = "<!-- run -->\n```python\nprint(1)\n```\n<!-- prints -->\n```text\n{}\n```\n"
    assert run_page(page_of(tmp_path, printing.format(1))) == 1
    with pytest.raises(AssertionError, match=r"page\.md, line 7: printed"):
        run_page(page_of(tmp_path, printing.format(2)))
    with pytest.raises(AssertionError, match=r"page\.md, line 3"):
        run_page(page_of(tmp_path, "<!-- run -->\n```bash\nfalse; true\n```\n"))


def test_a_block_waits_for_what_it_runs_with(tmp_path, monkeypatch, capsys):
    """Without a package or program it is left out, aloud, and so is what it would print."""
    monkeypatch.chdir(tmp_path)
    text = "<!-- run with {} -->\n```python\nprint(1)\n```\n<!-- prints -->\n```text\n2\n```\n"
    with pytest.raises(AssertionError, match="printed"):
        run_page(page_of(tmp_path, text.format("hyperopt bash")))
    assert run_page(page_of(tmp_path, text.format("hyperopt no_such_program"))) == 0
    assert "line 3: not run without no_such_program" in capsys.readouterr().err
    (tmp_path / "bound").mkdir()
    (tmp_path / "bound" / "__init__.py").touch()
    (tmp_path / "bound" / "library.py").write_text("raise RuntimeError('it does not load')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_page(page_of(tmp_path, text.format("bound.library"))) == 0
    assert "not run without bound.library" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_mark_stands_before_its_block(page):
    """One that does not would silently run nothing; and each Python block says whether it runs."""
    text, found = page.read_text("utf-8"), blocks(page)
    marks = re.findall(r"^\s*<!-- *(?:run|prints|file|not run)\b", text, re.MULTILINE)
    assert len(marks) == sum(1 for block in found if block.mark)
    unmarked = [block.line for block in found if block.language == "python" and not block.mark]
    assert unmarked == []
