"""Warnings that point to the user's line, not to a frame of a library."""

import sys
import warnings
from types import FrameType

from colab_drive_tuner.text import visible

_BETWEEN = {
    *("colab_drive_tuner", "hyperopt", "hyperas", "temp_model", "tqdm", "keras"),
    *("contextlib", "functools", "importlib", "threading", "concurrent"),
}
"""Packages whose frames are skipped; `temp_model` is the module that hyperas generates."""


def user_frame() -> FrameType | None:
    """Return the innermost frame of the user's own code; None in a thread that runs none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _BETWEEN:
            return frame
        frame = frame.f_back
    return None


def warn_user(message: str, category: type[Warning]) -> None:
    """Issue a warning, as `warnings.warn` does, with the user's file and line."""
    frame = user_frame() or sys._getframe(1)
    warnings.warn_explicit(
        visible(message, lines=True),
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=str(frame.f_globals.get("__name__", "<unknown>")),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
