"""Runner for the code blocks of Markdown pages, controlled by the comment before each block.

- `<!-- run -->`: run it: Python, in one namespace per page, or bash, on a machine without an
  account.
- `<!-- run in Drive -->`: the same, signed in; later blocks of the page stay signed in.
- `<!-- run with NAMES -->`: run it where these packages and programs are installed, and these
  modules (`mpi4py.MPI`) can be imported.
- `<!-- prints -->`: the expected output of the block that ran before.
- `<!-- file: NAME -->`: a file to write into the working directory.
- `<!-- not run: WHY -->`: an example that is not run.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_BLOCK = re.compile(r"^(?:<!-- ([^\n]*?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROOT = Path(__file__).resolve().parents[1]
_PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    mark: str
    language: str
    text: str
    line: int
    """Line number of the block's first line in the page."""


def blocks(page: Path) -> list[Block]:
    """Return the fenced code blocks of a page, with or without a comment before them."""
    text = page.read_text("utf-8")
    return [
        Block(m[1] or "", m[2], m[3], text[: m.start(3)].count("\n") + 1)
        for m in _BLOCK.finditer(text)
    ]


def run_page(page: Path, sign_in: Callable[[], object] | None = None) -> int:
    """Run a page's blocks in the working directory, in order; return how many ran.

    `sign_in` is called before each block marked `run in Drive`. Each Python block is written to a
    file, as a cell is: templates find their source, and tracebacks show the page's line numbers.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = ""
    count = 0
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.mark == "run in Drive":
            assert sign_in is not None, f"{where}: nobody can sign in"
            sign_in()
        missing = _missing(block)
        if missing:
            sys.stderr.write(f"{where}: not run without {missing}\n")
            printed = None
        elif block.mark.startswith("run"):
            printed = _run(block, page, names)
            count += 1
        elif block.mark == "prints":
            same = printed is None or printed.split("\n") == block.text.split("\n")
            assert same, f"{where}: printed {printed!r}"
        elif block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text, "utf-8")
        else:
            assert not block.mark or block.mark.startswith("not run: "), f"{where}: {block.mark}"
    return count


def _missing(block: Block) -> str:
    """Return the packages and programs that the block needs and that are not installed."""
    names = block.mark.removeprefix("run with ").split() if "run with " in block.mark else []
    return ", ".join(one for one in names if not is_installed(one))


def is_installed(name: str) -> bool:
    """Return whether a package or program is installed, or a submodule can be imported."""
    if "." in name:  # for example, mpi4py may be installed without an MPI library
        command = [sys.executable, "-c", f"import {name}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return bool(find_spec(name) or shutil.which(name, path=_PATH))


def _run(block: Block, page: Path, names: dict[str, object]) -> str:
    if block.language == "bash":
        return _run_in_bash(block, page)
    assert block.language == "python", f"{page.name}, line {block.line}: {block.language!r} to run"
    file = Path(f".{page.stem}-line-{block.line}.py").resolve()
    file.write_text("\n" * (block.line - 1) + block.text, "utf-8")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(file.read_text("utf-8"), str(file), "exec"), names)
    return printed.getvalue()


def _run_in_bash(block: Block, page: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        env=os.environ | {"PATH": _PATH, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}, line {block.line}: {done.stdout}{done.stderr}"
    sys.stderr.write(done.stderr)
    return done.stdout
