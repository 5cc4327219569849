"""Rows about several trials at once, on the workers of an Executor."""

from collections.abc import Iterator

from harness import Effort, Row, child, drive, medians


def workers(effort: Effort) -> Iterator[Row]:
    """How much of the bare executor's throughput a search on Drive has."""
    yield _row(effort, width=64, seconds=0.05, count=effort.trials(5000, 200), algo="rand")
    yield _row(effort, width=16, seconds=1.0, count=effort.trials(320, 32), algo="tpe")


def _row(effort: Effort, *, width: int, seconds: float, count: int, algo: str) -> Row:
    requests = 0

    def measure(_: int) -> dict[str, float]:
        nonlocal requests
        shape = {"count": count, "width": width, "seconds": seconds, "algo": algo}
        bare = child("throughput", ours=False, **shape)
        with drive(effort.latency()) as emulator:
            ours = child("throughput", emulator.environment, ours=True, **shape)
            requests = len(emulator.log)
        return {"share": ours["rate"] / bare["rate"], "bare": bare["rate"], "ours": ours["rate"]}

    found = medians(effort.repeats(3), measure)
    return Row(
        f"trials a second on {width} threads, trials of {seconds * 1e3:.0f} ms, {algo}, Drive",
        ">= 95 % of the bare executor",
        f"{found['share']:.0%}: {found['ours']:.0f} of {found['bare']:.0f}",
        found["share"] >= 0.95,
        f"{count:,} trials with opening and closing, {requests} requests",
    )
