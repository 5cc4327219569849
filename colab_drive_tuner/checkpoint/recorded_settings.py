"""Settings of a search, as recorded by claims and items: their keys and validation."""

from collections.abc import Callable
from functools import partial
from typing import Any

from colab_drive_tuner.checkpoint.codec.plain_data import is_exact
from colab_drive_tuner.journal.chain.fields import moment, typed, whole

STOPPED = "stopped"
"""Setting: why the search was stopped before all its trials."""
EARLY_STOP = "early_stop"
"""Setting: state of the early-stop function."""
RESTARTED = "restarted"
"""Setting: whether the last run restarted the search."""
OUTAGE = "outage"
"""Setting: an outage of the store, which is added to the session's outages."""
FROM_SEARCH = "from_search"
"""Setting: the search whose trials this one began with; each of those trials names it, too."""


def check_settings(value: Any) -> dict[str, Any]:
    """Check the settings of a search: known ones for their type, others for plain data."""
    settings = typed(value, dict)
    for key, setting in settings.items():
        if typed(key, str) in _CHECKS:
            _CHECKS[key](setting)
    if not is_exact(settings):
        raise ValueError("the settings nest too deeply")
    return settings


def check_outage(value: Any) -> list[float]:
    """Check the start and end of an outage of the store."""
    began, ended = typed(value, list)
    return [moment(began), moment(ended)]


def _check_map(value: Any, fields: dict[str, type]) -> None:
    """Check a setting that is a map, with the types of its fields; None if it was withdrawn."""
    if value is not None:
        for name, kind in fields.items():
            typed(typed(value, dict)[name], kind)


_CHECKS: dict[str, Callable[[Any], object]] = {
    OUTAGE: check_outage,
    RESTARTED: partial(typed, kind=bool),
    STOPPED: partial(
        _check_map, fields={"why": str, "rules": str, "rules_after": str, "max_evals": int}
    ),
    EARLY_STOP: partial(_check_map, fields={"by": str, "arguments": bytes, "ended": int}),
    **dict.fromkeys(("rstate", "source"), partial(typed, kind=bytes)),
    **dict.fromkeys(("seed", "max_evals", "generation"), whole),
    **dict.fromkeys(
        ("algo", "space", "model", "data", "pruner", "from", FROM_SEARCH), partial(typed, kind=str)
    ),
}
"""By name of a setting, the check of its value; other settings are not checked."""
