"""Draw the picture of the first page: a search that resumes after three killed runtimes.

    python scripts/timeline.py    runs such a search, kills it, and draws docs/timeline.svg

The picture shows real times. Only the times without a runtime are shortened.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "timeline.svg"
TRIALS, KILLED_AFTER = 20, (5, 11, 15)
"""Number of trials; numbers of ended trials after which a runtime is killed in the next trial."""
WIDTH, LEFT, RIGHT, TOP, LANE, BAR = 760, 96, 28, 62, 40, 22
GAP = 0.45
DONE, CUT = "#7cc8be", "#f6d5d1"
TITLE = (
    f"A search of {TRIALS} trials resumes after each of {{}} killed runtimes: each trial is "
    "recorded in Drive as it ends, and the next runtime starts with the interrupted one."
)


@dataclass(frozen=True)
class Attempt:
    """A trial in one runtime, in seconds; `end` is None if the runtime was killed during it."""

    tid: int
    begin: float
    end: float | None


def search(store: str, log: str | None) -> list[float]:
    """Run or resume the search; return the suggested values."""
    from hyperopt import hp

    import colab_drive_tuner as cdt

    def note(event: str) -> None:
        if log:
            line = json.dumps([event, cdt.running_trial().tid, time.time()])
            with Path(log).open("a") as file:
                file.write(line + "\n")

    def objective(x: float) -> float:
        note("begin")
        if log:
            time.sleep(0.4 + abs(x - 3) / 20)  # the duration of training varies
        note("end")
        return (x - 3) ** 2

    result = cdt.resume_search(
        objective,
        space=hp.uniform("x", -10, 10),
        name="timeline",
        max_evals=TRIALS,
        seed=1,
        store=store,
        progress=False,
    )
    return [document["misc"]["vals"]["x"][0] for document in result.trials.trials]


def run_and_kill(folder: Path) -> tuple[list[list[Attempt]], list[float]]:
    """Return the attempts of each runtime, and the times of the kills."""
    runtimes, deaths = [], []
    for number, last in enumerate((*KILLED_AFTER, TRIALS)):
        log = folder / f"{number}.log"
        command = [sys.executable, __file__, str(folder / "store"), str(log)]
        with subprocess.Popen(command) as runtime:
            while runtime.poll() is None:
                noted = _read(log)
                if last < TRIALS and noted and noted[-1][:2] == ["begin", last]:
                    time.sleep(0.3)
                    runtime.send_signal(signal.SIGKILL)
                    deaths.append(time.time())
                    break
                time.sleep(0.02)
        begun = {tid: at for event, tid, at in _read(log) if event == "begin"}
        ended = {tid: at for event, tid, at in _read(log) if event == "end"}
        runtimes.append([Attempt(tid, at, ended.get(tid)) for tid, at in begun.items()])
    return runtimes, deaths


def _read(log: Path) -> list[tuple[str, int, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def draw(runtimes: list[list[Attempt]], deaths: list[float]) -> str:
    """Return the picture as SVG."""
    from colab_drive_tuner.search.results.svg_charts.svg import Canvas
    from colab_drive_tuner.text import ORANGE, RED

    shifts, at = [], 0.0
    for number, attempts in enumerate(runtimes):
        shifts.append(at - attempts[0].begin)
        last = deaths[number] if number < len(deaths) else attempts[-1].end
        at = last + shifts[-1] + GAP
    scale = (WIDTH - LEFT - RIGHT) / (at - GAP)
    drive = TOP + LANE * len(runtimes) + 20
    canvas = Canvas(WIDTH, drive + 44, TITLE.format(len(deaths)))
    canvas.text(12, 22, f"One search of {TRIALS} trials, killed {len(deaths)} times")
    canvas.text(12, 42, "Only interrupted trials run again.", faint=True)
    kept = []
    for number, (attempts, shift) in enumerate(zip(runtimes, shifts, strict=True)):
        y = TOP + LANE * number
        canvas.text(12, y + 15, f"runtime {number + 1}")
        for attempt in attempts:
            killed = attempt.end is None
            x = LEFT + (attempt.begin + shift) * scale
            end = LEFT + ((deaths[number] if killed else attempt.end) + shift) * scale
            canvas.rect(x, y, end - x - 1.5, BAR, CUT if killed else DONE)
            canvas.text((x + end - 1.5) / 2, y + 15, attempt.tid, anchor="middle")
            if killed:
                canvas.text(end + 4, y + 15, "✗ killed")
                below = y + LANE + BAR / 2
                again = [(end, y + BAR), (end, below), (end + GAP * scale - 3, below)]
                canvas.path(again, RED, dashed=True, width=1)
            else:
                canvas.rule(end - 1, y + BAR, end - 1, drive)
                kept.append((end - 1, drive))
    canvas.path([(LEFT, drive), (WIDTH - RIGHT + 6, drive)], ORANGE, width=1.5)
    canvas.dots(kept, ORANGE, size=7)
    canvas.text(12, drive + 4, "your Drive")
    whole = f"{TRIALS} of {TRIALS} trials, equal to a run without kills, to the last bit"
    canvas.text(LEFT, drive + 30, whole, faint=True)
    head, start, rest = str(canvas).partition(">")
    return f"{head}{start}<style>svg{{color:#222;background:#fff}}</style>{rest}\n"


def main() -> None:
    """Draw the picture, after checking that the killed search equals an uninterrupted one."""
    with tempfile.TemporaryDirectory() as folder:
        runtimes, deaths = run_and_kill(Path(folder))
        assert len(deaths) == len(KILLED_AFTER), "a runtime ended before it was killed"
        interrupted = search(f"{folder}/store", None)
        assert interrupted == search(f"{folder}/whole", None), "the kills changed the search"
    PICTURE.write_text(draw(runtimes, deaths), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        search(*sys.argv[1:])
    else:
        main()
