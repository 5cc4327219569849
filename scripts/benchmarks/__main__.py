"""Measures how fast and how frugal the package is, in one run; see `scripts/bench`."""

import argparse
import os
import platform
import re
import sys
from pathlib import Path

from harness import LATENCY, Effort, Row
from rows import ROWS, measured

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- measured by scripts/bench --write -->", "<!-- end of what was measured -->"


def main() -> None:
    """Print the table, row by row; write it into the documentation where that is asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, metavar="NAME", default=[])
    parser.add_argument("--quick", action="store_true", help="few trials: shows counts, not times")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    given = parser.parse_args()
    effort = Effort(quick=given.quick)
    heading = "| what | goal | result | met |\n|---|---|---|---|"
    sys.stdout.write(f"{heading}\n")
    rows: list[Row] = []
    for name in given.only or ROWS:
        for row in measured(name, effort):
            rows.append(row)
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
    if given.write:
        machine = (
            f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}; "
            f"Drive is the emulator in a process of its own, {LATENCY * 1e3:.0f} ms before each "
            f"answer; medians."
        )
        table = "\n".join([machine, "", heading, *map(str, rows)])
        text = PAGE.read_text(encoding="utf-8")
        inside = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
        PAGE.write_text(inside.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
