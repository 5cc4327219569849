"""Tracebacks that show the user's frames, without the run loop between the call and the objective.

The record of a trial that raised keeps the whole traceback, in `misc["traceback"]`.
"""

import traceback
from contextlib import suppress
from types import TracebackType

_PACKAGE = f"{__name__.partition('.')[0]}."
_EVALUATES = "hyperopt.base"
"""The module that calls the objective."""


class _TrialNote(str):
    """A note of an exception of the objective, which also marks it as one."""

    __slots__ = ()


def add_hint(error: BaseException, tid: object, search: str) -> None:
    """Note on an exception of the objective which trial raised it, and what happens next."""
    if is_of_package(error):
        return  # its message says what to do
    with suppress(Exception):  # a user's exception may refuse notes
        error.add_note(
            _TrialNote(
                f"Trial {tid} of search {search!r} raised this. The next run tries it again; "
                "catch_eval_exceptions=True counts it as failed and goes on."
            )
        )


def is_of_package(error: BaseException) -> bool:
    """Return whether the exception is one of this package's errors, or of a class derived from one.

    By module, because errors.py is above this module.
    """
    return any(kind.__module__.startswith(_PACKAGE) for kind in type(error).__mro__)


def is_of_objective(error: BaseException) -> bool:
    """Return whether the exception has a hint."""
    return any(isinstance(note, _TrialNote) for note in getattr(error, "__notes__", None) or ())


def keep_frames_of_user(error: BaseException | None) -> None:
    """Remove this package's frames, and hyperopt's call of the objective, from a traceback.

    The frames that an exception of the objective ends with are kept: they are where it failed.
    """
    seen = set()  # an exception may be its own cause
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames, frame = [], error.__traceback__
        while frame is not None:
            frames.append(frame)
            frame = frame.tb_next
        at_end, kept = not is_of_package(error) and _EVALUATES in map(_module, frames), None
        for frame in reversed(frames):
            is_ours = _module(frame).startswith(_PACKAGE)
            at_end = at_end and is_ours
            if at_end or not (is_ours or _module(frame) == _EVALUATES):
                frame.tb_next, kept = kept, frame
        error.__traceback__ = kept
        error = error.__cause__


def shown_in_notebook(error: BaseException) -> list[str]:
    """Return the lines that IPython shows for the exception, without this package's frames."""
    from IPython import get_ipython

    keep_frames_of_user(error)
    shown: list[str] = get_ipython().InteractiveTB.structured_traceback(
        type(error), error, error.__traceback__
    )
    return shown


def formatted(error: BaseException) -> str:
    """Return the traceback and message as text."""
    return "".join(traceback.format_exception(error))


def _module(frame: TracebackType) -> str:
    return str(frame.tb_frame.f_globals.get("__name__"))
