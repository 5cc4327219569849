"""Errors that end a run on workers: what happened, to which trials, what to do next."""

from colab_drive_tuner.errors import ExecutorError
from colab_drive_tuner.search.executors.engine import Engine
from colab_drive_tuner.search.executors.worker import Outcome
from colab_drive_tuner.text import text_of


class InWorkerError(Exception):
    """Cause of an exception raised in a worker; its text is the worker's traceback."""

    def __str__(self) -> str:
        return f"in the worker:\n\n{self.args[0]}"


def pool_broke(engine: Engine, search: str, trials: str, *, given_up: bool) -> ExecutorError:
    """Return the error for a broken pool of the user's, which was running `trials`."""
    first = "" if given_up else ", first with these, one at a time"
    return ExecutorError(
        f"executor={engine.name} is broken: a worker died while {trials} of search {search!r} "
        f"ran{', for the last time: it is given up' if given_up else ''}. What had ended is "
        f"recorded. Make a new executor and call again: the search continues{first}. "
        "(cdt.loky_executor(n) replaces its workers itself.)"
    )


def cancelled_repeatedly(engine: Engine, search: str, tid: object, times: int) -> ExecutorError:
    """Return the error for a trial that was cancelled from outside too often."""
    return ExecutorError(
        f"Trial {tid} of search {search!r} was cancelled by {engine.name} {times} times, so the "
        "run ends: look at its log."
    )


def submission_refused(engine: Engine, search: str, error: Exception | None) -> ExecutorError:
    """Return the error for an executor that accepts no trials; no `error` if it was closed."""
    why = "it was closed" if error is None else f"{type(error).__name__}: {text_of(error)}"
    failure = ExecutorError(
        f"{engine.name} takes no more trials ({why.rstrip('.: ')}). What had ended in search "
        f"{search!r} is recorded: make a new executor, and call again to continue."
    )
    failure.__cause__ = error
    return failure


def engine_failed(
    engine: Engine, search: str, tid: object, error: BaseException | None
) -> BaseException:
    """Return the error for an engine that could not run a task; an interrupt is returned as is."""
    if error is not None and not isinstance(error, Exception):
        return error
    failure = ExecutorError(
        f"{engine.name} could not run trial {tid} of search {search!r}: {type(error).__name__}: "
        f"{text_of(error)}. Its workers need colab-drive-tuner, and the packages that the "
        "objective imports."
    )
    failure.__cause__ = error
    return failure


def objective_not_loaded(outcome: Outcome) -> ExecutorError:
    """Return the error for a worker that lacks what the objective imports."""
    return ExecutorError(
        f"The objective, or its data, cannot be loaded in worker {outcome.worker}: "
        f"{outcome.error_text}. Install there what it imports.\n{outcome.traceback}"
    )


def objective_raised(outcome: Outcome) -> BaseException:
    """Return the objective's exception, with its traceback in the worker as the cause."""
    error = outcome.error
    if error is None:
        error = ExecutorError(
            f"The objective raised {outcome.error_type}, which cannot be sent here: "
            f"{outcome.error_text}"
        )
    if outcome.traceback:
        error.__cause__ = InWorkerError(outcome.traceback)
    return error


def all_workers_hang(engine: Engine, search: str) -> ExecutorError:
    """Return the error for an engine whose workers are all occupied by trials that hang."""
    return ExecutorError(
        f"All workers of {engine.name} are occupied by trials that hang: restart them and call "
        f"again to continue search {search!r}."
    )


def no_workers(engine: Engine, search: str, minutes: float) -> ExecutorError:
    """Return the error for an engine that has had no workers for `minutes`."""
    return ExecutorError(
        f"{engine.name} has had no workers for {minutes:.0f} minutes. What had ended in search "
        f"{search!r} is recorded; start workers, and call again."
    )
