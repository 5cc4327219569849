"""Rows about parallel trials on the workers of an Executor."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from harness import Effort, MissingError, Row, child, drive, medians

UNITS = {"get": 5, "generateIds": 5, "list": 100, "download": 200}
"""Drive's quota units per call, by the end of the method's name; 50 for changes."""
UNITS_A_MINUTE = 325_000
"""Drive's quota for a user and project."""


def workers(effort: Effort) -> Iterator[Row]:
    """Throughput of a search on Drive, compared with the bare executor and other tools."""
    yield _share(effort, "threads", width=64, seconds=0.05, count=effort.trials(10_000, 200))
    yield _share(effort, "processes", width=64, seconds=0.05, count=effort.trials(10_000, 200))
    yield _share(
        effort,
        "threads",
        width=16,
        seconds=1.0,
        count=effort.trials(320, 16),
        algo="tpe",
        recorded=effort.trials(3000, 100),
        repeats=1,
    )
    yield _requests(effort)
    yield _others(effort)


def _share(
    effort: Effort,
    pool: str,
    *,
    width: int,
    seconds: float,
    count: int,
    algo: str = "rand",
    recorded: int = 0,
    repeats: int = 3,
) -> Row:
    shape = {"count": count, "width": width, "seconds": seconds, "algo": algo, "pool": pool}

    def measure(_: int) -> dict[str, float]:
        bare = child("workers.throughput", ours=False, **shape)
        with drive(effort.latency()) as emulator:
            ours = child(
                "workers.throughput", emulator.environment, ours=True, recorded=recorded, **shape
            )
            requests = len(emulator.log)
        rates = {"bare": bare["rate"], "asked": bare["asked"], "ours": ours["rate"]}
        shares = {
            "share": ours["rate"] / bare["rate"],
            "of_asked": ours["rate"] / bare["asked"],
            "whole": ours["rate_whole"] / bare["rate"],
        }
        return rates | shares | {"requests": requests}

    found = medians(effort.repeats(repeats), measure)
    what = f"trials per second on {width} {pool}, trials of {1e3 * seconds:.0f} ms, {algo}"
    behind = f" after {recorded:,} recorded trials" if recorded else ""
    return Row(
        f"{what}{behind}, Drive",
        "≥ 95 % of the bare executor",
        f"{found['share']:.0%}: {found['ours']:.0f} of {found['bare']:.0f}",
        found["share"] >= 0.95,
        f"{count:,} trials, from the first to the last; with opening and closing "
        f"{found['whole']:.0%}; an executor that gets a random point when a trial has ended, and "
        f"records nothing: {found['asked']:.0f} per second, of which ours is "
        f"{found['of_asked']:.0%}; {found['requests']:.0f} requests",
    )


def _requests(effort: Effort) -> Row:
    """Drive's quota used by many workers; the emulator refuses requests above the quota."""
    width, count, seconds = 500, effort.trials(30_000, 1000), 1.0
    with drive(effort.latency()) as emulator:
        emulator.faults.add("rate_limit", per_second=UNITS_A_MINUTE / 50 / 60)
        shape = {"count": count, "width": width, "seconds": seconds, "algo": "rand"}
        rate = child("workers.throughput", emulator.environment, ours=True, **shape)["rate"]
        log = emulator.log
    minutes: Counter[int] = Counter()
    for entry in log:
        minutes[int((entry["time"] - log[0]["time"]) // 60)] += _units(entry)
    refused = sum(entry["status"] in (403, 429) for entry in log)
    most = max(minutes.values())
    return Row(
        f"Drive quota units in the busiest minute, {width} workers, trials of {seconds:.0f} s",
        f"< {UNITS_A_MINUTE:,} units, no request refused",
        f"{most:,} units, {refused} of {len(log)} requests refused",
        most < UNITS_A_MINUTE and not refused,
        f"{count:,} trials, {rate:.0f} per second; {count / len(log):.0f} trials per request, "
        "opening and closing included",
    )


def _units(entry: dict[str, Any]) -> int:
    method = entry["api"].rpartition(".")[2]
    if method == "get" and "alt=media" in entry["query"]:
        method = "download"
    return UNITS.get(method, 50)


def _others(effort: Effort) -> Row:
    """The same search by TPE with other tools; a missing package is named."""
    width, count, seconds = 8, effort.trials(200, 16), 0.05
    shape = {"count": count, "width": width, "seconds": seconds}

    def measure(_: int) -> dict[str, float]:
        found = {
            "the bare executor": child("workers.throughput", ours=False, algo="rand", **shape)[
                "rate"
            ]
        }
        for pool in ("threads", "processes"):
            with drive(effort.latency()) as emulator:
                where = emulator.environment
                ours = child("workers.throughput", where, ours=True, algo="tpe", pool=pool, **shape)
            found[f"colab_drive_tuner on Drive, {pool}"] = ours["rate"]
        for tool, called in (
            ("Optuna n_jobs", "Optuna n_jobs, in memory"),
            ("Optuna JournalStorage", f"Optuna JournalStorage on local disk, {width} processes"),
            ("Ray Tune", "Ray Tune with HyperOptSearch on local disk"),
        ):
            try:
                found[called] = child("workers.other_tool", tool=tool, **shape)["rate"]
            except MissingError as error:
                found[f"{called} (not measured: {error} is not installed)"] = 0.0
        return found

    rates = medians(effort.repeats(1), measure)  # other tools take minutes
    return Row(
        f"trials per second on {width} workers, trials of {1e3 * seconds:.0f} ms, TPE",
        "side by side",
        "; ".join(f"{name} {rate:.1f}" if rate else name for name, rate in rates.items()),
        details=f"{count:,} trials, from the first to the last",
    )
