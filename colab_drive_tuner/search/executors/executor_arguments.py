"""Checks of the arguments `executor`, `width` and `trial_timeout`, before anything is written."""

from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.executors.dask import DaskEngine, client_of
from colab_drive_tuner.search.executors.engine import Engine
from colab_drive_tuner.search.executors.loky import LokyExecutor
from colab_drive_tuner.search.executors.ray import RayExecutor
from colab_drive_tuner.search.spec.arguments import real_number, whole_number


@dataclass(frozen=True)
class Workers:
    """The checked arguments `executor`, `width` and `trial_timeout`."""

    engine: Engine
    width: int
    trial_timeout: float | None = None


def check_workers(executor: Any, width: Any, trial_timeout: Any) -> Workers | None:
    """Check the arguments; return None if trials run in this process, one after another.

    Raises:
        UsageError: One of them cannot be used; nothing has been written.
    """
    if executor is None:
        for name, value in (("width", width), ("trial_timeout", trial_timeout)):
            if value is not None:
                raise UsageError(
                    f"{name}= goes with executor=, such as executor=ThreadPoolExecutor(4)."
                )
        return None
    timeout = real_number("trial_timeout", trial_timeout)
    if timeout is not None and not 0 < timeout < float("inf"):
        raise UsageError(f"trial_timeout must be a number of seconds > 0, got {trial_timeout!r}.")
    if width is not None:
        width = whole_number("width", width, least=1)
    engine = _engine(executor)
    if width is None:
        width = engine.width()
        if width is None:
            raise UsageError(
                f"executor={engine.name} does not say how many trials it can run at once: pass "
                "width=."
            )
    elif engine.local:  # a pool runs no more trials at once than it has workers
        width = min(width, engine.width() or width)
    return Workers(engine, width, timeout)


def _engine(executor: Any) -> Engine:
    if isinstance(executor, type):
        raise UsageError(
            f"executor={executor.__name__} is a class: pass an instance, such as "
            f"{executor.__name__}(4)."
        )
    if (client := client_of(executor)) is not None:
        return DaskEngine(executor, client)
    if not callable(getattr(executor, "submit", None)):
        raise UsageError(
            f"executor must be a concurrent.futures.Executor or a distributed.Client, got "
            f"{executor!r:.80}, which has no submit(): pass ThreadPoolExecutor(4), "
            "cdt.loky_executor(4), or the like."
        )
    flags = getattr(executor, "_flags", None)  # loky's
    if (
        getattr(executor, "_shutdown", False)
        or getattr(executor, "_shutdown_thread", False)
        or getattr(flags, "shutdown", False)
    ):
        raise UsageError(f"executor={type(executor).__name__} was shut down: make a new one.")
    if getattr(executor, "_broken", False) or getattr(flags, "broken", None):
        raise UsageError(
            f"executor={type(executor).__name__} is broken, because a worker died: make a new one."
        )
    return Engine(executor, own=isinstance(executor, LokyExecutor | RayExecutor))
