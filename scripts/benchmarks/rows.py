"""Rows of the table: measurements and their goals."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from harness import (
    LATENCY,
    Effort,
    MissingError,
    Row,
    child,
    depth,
    drive,
    medians,
    search,
    traffic,
)
from rows_other_tools import backup, imports, others, transfer
from rows_pruning import pruning
from rows_workers import workers

LAPSE = 10.0
"""Trials of 0.1 s represent trials of 1 s: pauses of the writer are shortened by this factor."""
HISTORY = 900
"""Numbers in a result of 8 kB."""

Measure = Callable[[Effort], Iterator[Row]]


def bookkeeping(effort: Effort) -> Iterator[Row]:
    """Bookkeeping of the loop per trial, and CPU time of the background threads."""
    few, many = effort.trials(1000, 20), effort.trials(10_000, 60)
    for where in ("Drive", "folder"):

        def measure(_: int, where: str = where) -> dict[str, float]:
            trials = {"seconds": 0.001, "history": HISTORY}
            ours = search(effort, where, count=many, **trials)[0]
            plain = child("searches.search", count=few, plain=True, **trials)
            return ours | {"plain": plain["first_end"]}

        found = medians(effort.repeats(3), measure)
        ratio = found["first_end"] / found["plain"]
        growth = found["last_end"] / found["first_end"]
        yield Row(
            f"bookkeeping per trial at {few:,} trials, against plain hyperopt ({where})",
            "≤ 0.33",
            f"{ratio:.2f}",
            ratio <= 1 / 3,
            "in the training thread, without objective and algorithm; results of 8 kB; medians "
            f"{found['first_end'] * 1e3:.2f} / {found['plain'] * 1e3:.2f} ms; our 99th percentile "
            f"{found['first_p99'] * 1e3:.2f} ms, with waits for a core "
            f"{found['first_with_waits'] * 1e3:.2f} ms",
        )
        yield Row(
            f"bookkeeping per trial at {many:,} trials, against {few:,} ({where})",
            "≤ 2",
            f"{growth:.2f}",
            growth <= 2,
        )
        share = found["writer_share"]
        yield Row(
            f"CPU of all background threads, as a share of one core, trials of 1 ms ({where})",
            "≤ 3 %",
            f"{100 * share:.1f} %",
            share <= 0.03,
        )


def stall(effort: Effort) -> Iterator[Row]:
    """The longest stall of a computing training, in a search of 10,000 recorded trials."""
    before = effort.trials(10_000, 40)

    def measure(_: int) -> dict[str, float]:
        with drive(0.0) as emulator:
            child("searches.search", emulator.environment, count=before, seconds=0.0)
            time.sleep(0.1)
            latency = emulator.faults.add("latency", seconds=effort.latency())
            ours = child(
                "searches.stall", emulator.environment, count=before, seconds=0.005, ours=True
            )
            emulator.faults.remove(latency)
        plain = child("searches.stall", count=effort.trials(1000, 20), seconds=0.005, ours=False)
        return {
            "ours": ours["longest"],
            "waits": ours["with_waits"],
            "plain": plain["longest"],
            "plain_waits": plain["with_waits"],
        }

    found = medians(effort.repeats(3), measure)
    yield Row(
        f"longest stall of the training thread, at {before:,} trials",
        "< 20 ms",
        f"{found['ours'] * 1e3:.1f} ms",
        found["ours"] < 0.020,
        "training that only computes; a snapshot every 16 records, trials.pkl every 3 s; with "
        f"waits for a core {found['waits'] * 1e3:.0f} ms; plain Trials with 1,000 trials: "
        f"{found['plain'] * 1e3:.1f} ms, with waits {found['plain_waits'] * 1e3:.0f} ms",
    )


def loop(effort: Effort) -> Iterator[Row]:
    """Our loop compared with plain hyperopt's, with equal points."""
    goals = {("rand", 1000): 0.5, ("rand", 3000): 0.22, ("tpe", 1000): 0.25, ("tpe", 3000): 0.25}
    for (algo, count), goal in goals.items():
        shown = effort.trials(count, 30)
        # tpe takes minutes, mostly for suggestions, so one store is enough.
        for where in ("Drive", "folder") if algo == "rand" else ("Drive",):
            # An even number, because the two loops take turns in going first.
            repeats = {("tpe", 1000): 4, ("tpe", 3000): 2}.get((algo, count), 6)
            found = _race(effort, where, repeats, shown, algo)
            same = "the same points" if found["same_points"] else "OTHER POINTS"
            yield Row(
                f"time of the loop, {algo}, {shown:,} trials, against plain hyperopt ({where})",
                f"≤ {goal}",
                f"{found['ratio']:.2f}, {same}",
                found["ratio"] <= goal and bool(found["same_points"]),
                f"trivial objective; {found['ours']:.2f} s / {found['plain']:.2f} s; opening and "
                f"closing take {found['opening_closing']:.1f} s more",
            )


def suggest(effort: Effort) -> Iterator[Row]:
    """CPU time of a suggestion, compared with hyperopt's own function over the same trials."""
    goals: dict[tuple[str, str], tuple[float, tuple[int, ...]]] = {
        ("tpe", "plain"): (4, (1000, 3000, 10_000)),
        ("tpe", "mixed"): (7, (1000, 3000)),
        ("tpe", "conditional"): (7, (1000, 3000)),
        ("anneal", "plain"): (2, (1000, 3000, 10_000)),
    }
    sizes = (300, 1000, 3000, 10_000)
    for (algo, name), (goal, judged_sizes) in goals.items():
        found = {}
        for size in sizes:
            repeats = effort.repeats(15 if size > 1000 else 40)
            count = effort.trials(size, size // 25)
            found[size] = child(
                "suggestions.suggestions", algo=algo, name=name, count=count, repeats=repeats
            )
        same = all(one["same"] for one in found.values())
        yield Row(
            f"CPU of a suggestion, {algo}, {name} space, at 300 / 1,000 / 3,000 / 10,000 trials",
            f"≤ 1/{goal} of hyperopt's at {' and '.join(f'{size:,}' for size in judged_sizes)}",
            " / ".join(f"1/{one['faster']:.1f}" for one in found.values())
            + (", the same points" if same else ", OTHER POINTS"),
            same and all(found[size]["faster"] >= goal for size in judged_sizes),
            " / ".join(f"{one['ours'] * 1e3:.1f}" for one in found.values())
            + " ms against "
            + " / ".join(f"{one['plain'] * 1e3:.1f}" for one in found.values())
            + " ms",
        )


def save_file(effort: Effort) -> Iterator[Row]:
    """Our loop compared with hyperopt's `trials_save_file`."""
    count = effort.trials(1000, 30)
    found = _race(effort, "Drive", 1, count, "rand", saving=True)
    yield Row(
        f"time of the loop, rand, {count:,} trials, against `trials_save_file` (Drive)",
        "≥ 20 times faster",
        f"{1 / found['ratio']:.0f} times",
        found["ratio"] <= 1 / 20,
        f"`trials_save_file` on local disk; {found['ours']:.2f} s / {found['plain']:.1f} s; "
        f"opening and closing take {found['opening_closing']:.1f} s more",
    )


def drive_use(effort: Effort) -> Iterator[Row]:
    """All calls and bytes of a search, from the emulator's log."""
    count = effort.trials(1000, 150)
    with drive(effort.latency() / LAPSE) as emulator:
        found = child(
            "searches.search", emulator.environment, count=count, seconds=1 / LAPSE, lapse=LAPSE
        )
        log = emulator.log
    minutes = found["loop"] * LAPSE / 60
    calls = len(log) - minutes
    yield Row(
        f"Drive calls per trial, {count:,} trials of 1 s",
        "≤ 1.1",
        f"{calls / count:.2f}",
        calls / count <= 1.1,
        f"in a time-lapse of 1 : {LAPSE:.0f}; without the heartbeat of each minute",
    )
    with drive(0.0) as emulator:
        child(
            "uploads.upload_all", client="google-api-python-client", url=emulator.url, count=count
        )
        whole = traffic(emulator.log)
    yield Row(
        "bytes per trial of that search, against uploading all Trials after each trial",
        "≤ 1/25",
        f"1/{whole / traffic(log):.0f}",
        traffic(log) * 25 <= whole,
        f"{traffic(log) / count / 1e3:.1f} kB / {whole / count / 1e3:.0f} kB",
    )
    count = effort.trials(3000, 1500)
    found, log = search(effort, "Drive", count=count, seconds=0.001)
    yield Row(
        f"Drive calls per trial, {count:,} trials of 1 ms",
        "≤ 0.05",
        f"{len(log) / count:.3f}",
        len(log) / count <= 0.05,
        f"opening and closing included; {1e3 * found['loop'] / count:.1f} ms of loop per trial",
    )


def resume(effort: Effort) -> Iterator[Row]:
    """Depth of the requests of a resume, as far as possible behind the last snapshot."""
    count, behind = effort.trials(10_000, 150), 63
    with drive(0.0) as emulator:
        # Snapshots at the usual intervals, then a record per trial until just before the next one.
        child(
            "searches.search", emulator.environment, count=count - behind, seconds=0.0, snapshots=10
        )
        found = child(
            "searches.search",
            emulator.environment,
            count=count,
            seconds=0.004,
            snapshots=10_000,
            linger=0.0005,
            die=True,
        )
        # More in the quick form, in which concurrent requests must overlap even on a busy machine.
        emulator.faults.add("latency", seconds=6 * LATENCY if effort.quick else LATENCY)
        answer = child("searches.reopen", emulator.environment, log=f"{emulator.url}/_emulator/log")
        log = [entry for entry in emulator.log if entry["time"] <= answer["first_at"]]
        reading = [entry for entry in log if entry["time"] <= answer["read_at"]]
    yield Row(
        f"consecutive requests to read a search of {count:,} trials at a resume",
        "≤ 8",
        f"{depth(reading)}",
        depth(reading) <= 8,
        f"with {found['records']:,.0f} records after the snapshot; {len(reading)} requests in all, "
        f"{answer['read']:.1f} s; until the next trial runs: {depth(log)} consecutive, "
        f"{answer['first']:.1f} s",
    )


ROWS: dict[str, Measure] = {
    "bookkeeping": bookkeeping,
    "stall": stall,
    "loop": loop,
    "suggest": suggest,
    "save-file": save_file,
    "drive": drive_use,
    "resume": resume,
    "others": others,
    "import": imports,
    "transfer": transfer,
    "backup": backup,
    "workers": workers,
    "pruning": pruning,
}


def measured(name: str, effort: Effort) -> Iterator[Row]:
    """Yield the rows of one measurement; if a package is missing, a row says so."""
    try:
        for row in ROWS[name](effort):
            # With few trials, times mean little, and opening and closing dominate the calls.
            yield replace(row, holds=None) if effort.quick and name != "resume" else row
    except MissingError as error:
        yield Row(name, "", f"not measured: {error} is not installed")


def _race(
    effort: Effort, where: str, repeats: int, count: int, algo: str, **more: Any
) -> dict[str, float]:
    with drive(effort.latency()) as emulator:

        def measure(n: int) -> dict[str, float]:
            emulator.call("DELETE", "log")
            shape = {"count": count, "algo": algo, "drive": where == "Drive", **more}
            found: dict[str, float] = child(
                "searches.race",
                emulator.environment,
                name=f"race-{n}",
                ours_first=n % 2 == 0,
                **shape,
            )
            return found

        return medians(effort.repeats(repeats), measure)
