"""Rows that compare with other tools: clients, storages, callbacks."""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from harness import Effort, MissingError, Row, child, drive, medians, python_seconds, search


def others(effort: Effort) -> Iterator[Row]:
    """Cost of a trial with other ways to store trials."""
    count = effort.trials(200, 10)

    def ours(_: int) -> dict[str, float]:
        return search(effort, "Drive", count=count)[0]

    found = medians(effort.repeats(3), ours)
    whole = found["opening"] + found["loop"] + found["closing"]
    journal, sqlite = (
        _measured(f"Optuna {storage} on local disk", partial(_optuna, effort, storage, count))
        for storage in ("JournalStorage", "SQLite")
    )
    google, pydrive = (
        _measured(client, partial(_uploading, effort, client, count))
        for client in ("google-api-python-client", "PyDrive2")
    )
    loop_alone, with_ends = 1e3 * found["loop"] / count, 1e3 * whole / count
    yield Row(
        "time per trial of a random search, with different ways to store trials",
        "side by side",
        f"colab_drive_tuner {loop_alone:.1f} ms ({with_ends:.0f} ms with opening and closing); "
        f"{google}; {pydrive}; {journal}; {sqlite}",
        details=f"{count:,} trials",
    )


def imports(effort: Effort) -> Iterator[Row]:
    """Cost of `import colab_drive_tuner`."""
    heavy = ("hyperopt", "scipy", "googleapiclient", "tensorflow", "keras", "numpy", "requests")
    code = f"import colab_drive_tuner, sys; print([m for m in {heavy!r} if m in sys.modules])"

    def measure(_: int) -> dict[str, float]:
        bare, _out = python_seconds("pass")
        taken, _out = python_seconds("import colab_drive_tuner")
        return {"more": taken - bare}

    more = medians(effort.repeats(15), measure)["more"]
    loaded = python_seconds(code)[1].strip("[]\n") or "none"
    yield Row(
        "time of `import colab_drive_tuner`",
        "< 0.15 s",
        f"{more:.3f} s",
        more < 0.15 and loaded == "none",
        f"without Python's own start; loaded of {', '.join(heavy)}: {loaded}",
    )


def transfer(effort: Effort) -> Iterator[Row]:
    """Upload and download of a large file by three clients."""
    size = effort.trials(256, 8)
    clients = ["colab_drive_tuner", "google-api-python-client", "PyDrive2"]
    with tempfile.TemporaryDirectory() as folder, drive(effort.latency()) as emulator:
        path = Path(folder) / "big"
        with path.open("wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(size))
        where = {"url": emulator.url, "path": str(path)}

        def measure(number: int) -> dict[str, float]:
            # All clients in every repeat, in rotated order, so that other load affects all equally.
            answer: dict[str, float] = {}
            first = number % len(clients)
            for client in clients[first:] + clients[:first]:
                try:
                    found = child("uploads.transfer", emulator.environment, client=client, **where)
                except MissingError:
                    clients.remove(client)
                else:
                    answer |= {f"{client} {key}": value for key, value in found.items()}
            return answer

        measured = medians(effort.repeats(3), measure)
    found = {
        client: {
            key: measured[f"{client} {key}"] for key in ("up", "down", "memory_up", "memory_down")
        }
        for client in clients
    }
    ours = found["colab_drive_tuner"]
    for way, word in (("up", "upload"), ("down", "download")):
        rest = "; ".join(
            f"{client} {speed[way]:.0f} MB/s, {speed[f'memory_{way}']:.0f} MB"
            for client, speed in found.items()
            if client != "colab_drive_tuner"
        )
        fastest = max(speed[way] for speed in found.values())
        yield Row(
            f"{word} of {size} MB: throughput and additional memory",
            "at least as fast, < 32 MB",
            f"{ours[way]:.0f} MB/s, {ours[f'memory_{way}']:.0f} MB",
            ours[way] >= 0.97 * fastest and ours[f"memory_{way}"] < 32,
            rest,
        )


def backup(effort: Effort) -> Iterator[Row]:
    """Cost of TrialBackup per epoch."""
    count = effort.trials(40, 3)

    def measure(_: int) -> dict[str, float]:
        answer: dict[str, float] = {}
        for callback in ("none", "TrialBackup", "BackupAndRestore"):
            found = child("trainings.epochs", callback=callback, count=count)
            answer |= {f"{callback} {key}": value for key, value in found.items()}
        return answer

    found = medians(effort.repeats(3), measure)
    ours, theirs, none = (
        (found[f"{name} wall"], found[f"{name} cpu"])
        for name in ("TrialBackup", "BackupAndRestore", "none")
    )
    yield Row(
        f"time of an epoch with TrialBackup, {found['none megabytes']:.0f} MB model",
        "less than with Keras's BackupAndRestore",
        f"{ours[0]:.0f} ms / {theirs[0]:.0f} ms",
        ours[0] < theirs[0] and ours[1] < theirs[1],
        f"in the training thread; BackupAndRestore on local disk; without either {none[0]:.0f} ms; "
        f"CPU: {ours[1]:.0f} / {theirs[1]:.0f} / {none[1]:.0f} ms",
    )


def _uploading(effort: Effort, client: str, count: int) -> float:
    with drive(effort.latency()) as emulator:
        seconds: float = child("uploads.upload_all", client=client, url=emulator.url, count=count)[
            "seconds"
        ]
    return seconds / count


def _optuna(effort: Effort, storage: str, count: int) -> float:
    found = medians(
        effort.repeats(3), lambda _: child("uploads.optuna_trials", storage=storage, count=count)
    )
    return found["seconds"] / count


def _measured(name: str, measure: Callable[[], float]) -> str:
    try:
        return f"{name} {1e3 * measure():.1f} ms"
    except MissingError as error:
        return f"{name} not measured ({error} is not installed)"
