"""Benchmark of the package's speed and use of Drive; see `scripts/bench`."""

import argparse
import os
import platform
import re
import sys
from pathlib import Path

from harness import LATENCY, Effort, Row
from rows import ROWS, measured

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
HEADING = "| what | goal | result | met |"
RULE = "|---|---|---|---|"
BEGIN, END = "<!-- measured by scripts/bench --write -->", "<!-- end of what was measured -->"


def main() -> None:
    """Print the table, row by row; with `--write`, update the documentation."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, metavar="NAME", default=[])
    parser.add_argument("--quick", action="store_true", help="few trials: shows counts, not times")
    parser.add_argument("--write", action="store_true", help="write the table into docs")
    given = parser.parse_args()
    effort = Effort(quick=given.quick)
    sys.stdout.write(f"{HEADING} details |\n{RULE}---|\n")
    rows: list[Row] = []
    for name in given.only or ROWS:
        for row in measured(name, effort):
            rows.append(row)
            sys.stdout.write(f"{row} {row.details} |\n")
            sys.stdout.flush()
    if given.write:
        machine = (
            f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}; "
            f"Drive is the emulator in a separate process, {LATENCY * 1e3:.0f} ms before each "
            f"answer; medians."
        )
        put(PAGE, [machine, "", *numbered(rows)])


def numbered(rows: list[Row]) -> list[str]:
    """Return a table of the rows, and below it the details of each, by its number."""
    table = [f"| {n} {row}" for n, row in enumerate(rows, 1)]
    details = [f"- Row {n}: {row.details}" for n, row in enumerate(rows, 1) if row.details]
    return [f"| row {HEADING}", f"|---{RULE}", *table, "", "Details:", "", *details]


def put(page: Path, lines: list[str]) -> None:
    """Replace the text between the marks of a page."""
    text, inside = page.read_text(encoding="utf-8"), "\n".join(["", "", *lines, "", ""])
    between = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)
    page.write_text(between.sub(lambda _: inside, text), encoding="utf-8")


if __name__ == "__main__":
    main()
