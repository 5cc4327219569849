"""The picture of the first page: a search that goes through three killed runtimes.

    python scripts/timeline.py    runs such a search, kills it, and draws docs/timeline.svg

What is drawn is what happened; only the time in which no runtime was there is shortened.
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
"""How many trials, and after how many of them a runtime is killed, in the middle of the next."""
WIDTH, LEFT, RIGHT, TOP, LANE, BAR = 760, 96, 28, 62, 40, 22
GAP = 0.45


@dataclass(frozen=True)
class Attempt:
    """A trial in one runtime, in seconds; `end` is None where the runtime was killed in it."""

    tid: int
    begin: float
    end: float | None


def search(store: str, log: str | None) -> list[float]:
    """Run the search, or go on with it; returns what was suggested."""
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
            time.sleep(0.4 + abs(x - 3) / 20)  # training takes longer here and shorter there
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
    """The attempts of each runtime, and when each of them was killed."""
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
    """The picture as SVG."""
    shifts, at = [], 0.0
    for number, attempts in enumerate(runtimes):
        shifts.append(at - attempts[0].begin)
        last = deaths[number] if number < len(deaths) else attempts[-1].end
        at = last + shifts[-1] + GAP
    scale = (WIDTH - LEFT - RIGHT) / (at - GAP)
    drive = TOP + LANE * len(runtimes) + 14
    parts = []
    for number, (attempts, shift) in enumerate(zip(runtimes, shifts, strict=True)):
        y = TOP + LANE * number
        parts.append(f'<text class="lane" x="12" y="{y + 15}">runtime {number + 1}</text>')
        for attempt in attempts:
            x = LEFT + (attempt.begin + shift) * scale
            killed = attempt.end is None
            end = LEFT + ((deaths[number] if killed else attempt.end) + shift) * scale
            width = max(end - x - 1.5, 2)
            kind = "cut" if killed else "trial"
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" '
                f'rx="3"/>'
                f'<text class="number" x="{x + width / 2:.1f}" y="{y + 15}">{attempt.tid}</text>'
            )
            if killed:
                parts.append(
                    f'<text class="kill" x="{end + 4:.1f}" y="{y + 15}">✗ killed</text>'
                    f'<path class="resume" d="M{end:.1f} {y + BAR} V{y + LANE + BAR / 2} '
                    f'h{GAP * scale - 3:.1f}"/>'
                )
            else:
                parts.append(
                    f'<path class="record" d="M{end - 1:.1f} {y + BAR} V{drive}"/>'
                    f'<circle class="kept" cx="{end - 1:.1f}" cy="{drive + 6}" r="3.5"/>'
                )
    return _PAGE.format(
        width=WIDTH, height=drive + 52, drive=drive, middle=drive + 10, trials=TRIALS, left=LEFT,
        line=drive + 6, right=WIDTH - RIGHT + 6, words=drive + 36, killed=len(deaths),
        body="\n".join(parts),
    )  # fmt: skip


_PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-labelledby="title">
<title id="title">A search of {trials} trials goes on through {killed} killed runtimes: each \
trial is recorded in Drive as it ends, and the next runtime begins with the one that was cut \
off.</title>
<style>
svg {{ font: 12px system-ui, sans-serif }}
.paper {{ fill: #fbfbfd; stroke: #d5d9e2 }}
.head {{ font-size: 15px; font-weight: 600; fill: #1d2433 }}
.lane, .words {{ fill: #445066 }}
.trial {{ fill: #2a9d8f }}
.cut {{ fill: #f6d5d1; stroke: #c8442f; stroke-dasharray: 3 2 }}
.number {{ fill: #fff; text-anchor: middle; font-size: 11px }}
.cut + .number {{ fill: #c8442f }}
.kill {{ fill: #c8442f; font-weight: 600; font-size: 11px }}
.resume {{ fill: none; stroke: #c8442f; stroke-dasharray: 2 2 }}
.record {{ stroke: #2a9d8f; stroke-width: .6; opacity: .45 }}
.kept {{ fill: #e9a820 }}
.line {{ stroke: #e9a820; stroke-width: 1.5 }}
</style>
<rect class="paper" width="100%" height="100%" rx="8"/>
<text class="head" x="12" y="26">One search of {trials} trials, killed {killed} times</text>
<text class="words" x="12" y="46">A trial that was cut off runs again, with the same parameters. \
Nothing else is repeated.</text>
<path class="line" d="M{left} {line} H{right}"/>
{body}
<text class="lane" x="12" y="{middle}">your Drive</text>
<text class="words" x="{left}" y="{words}">{trials} of {trials} trials, the same as without the \
kills, to the last bit</text>
</svg>
"""


def main() -> None:
    """Draw the picture, once the search has proved what it says."""
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
