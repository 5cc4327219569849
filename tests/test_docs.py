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
def test_a_pages_code_blocks_run(page, tmp_path, monkeypatch, request):
    """A page's blocks run in order in an empty folder, without an account until `in Drive`."""
    if page.stem == "hyperas" and find_spec("hyperas") is None:
        pytest.skip("hyperas is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # hyperas appends to it
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "")  # pages set it; undone after the test
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # readers see them too
            # Keras' own, from `model.save` with TensorFlow on NumPy 2; Python hides it by default.
            warnings.filterwarnings("ignore", "__array__ impl", DeprecationWarning, "keras")
            assert run_page(page, lambda: request.getfixturevalue("drive_emulator"))
    finally:
        hyperas_compat.disable()
        set_default_store(None)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_pages_first_block_runs_anywhere(page):
    """The first block of a page needs no account and no Colab."""
    assert blocks(page)[0].mark == "run"


def test_the_readme_shows_the_cells_of_the_first_page():
    """The README's two cells are copies of cells in docs/index.md, where they run."""
    first_page = [block.text for block in blocks(ROOT / "docs" / "index.md")]
    readme = [block.text for block in blocks(ROOT / "README.md") if "docs/index.md" in block.mark]
    assert len(readme) == 2
    assert set(readme) <= set(first_page)


def page_of(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_a_broken_block_is_noticed(tmp_path, monkeypatch):
    """An exception, a wrong output or a failing command in a block is reported with its line."""
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


def test_a_block_without_its_requirements_is_skipped(tmp_path, monkeypatch, capsys):
    """A block whose package or program is missing is skipped with a message.

    Its expected output is not compared.
    """
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
def test_every_mark_belongs_to_a_block(page):
    """Each mark stands directly before a block, and each Python block has a mark."""
    text, found = page.read_text("utf-8"), blocks(page)
    marks = re.findall(r"^\s*<!-- *(?:run|prints|file|not run)\b", text, re.MULTILINE)
    assert len(marks) == sum(1 for block in found if block.mark)
    unmarked = [block.line for block in found if block.language == "python" and not block.mark]
    assert unmarked == []
