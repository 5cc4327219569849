"""Settings of a search, as recorded by claims and items: their keys and validation."""

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
_SETTINGS: dict[str, type] = {
    OUTAGE: list,
    "rstate": bytes,
    "seed": int,
    "max_evals": int,
    "generation": int,
    "algo": str,
    "space": str,
    "model": str,
    "source": bytes,
    "data": str,
    "pruner": str,
    "from": str,
    FROM_SEARCH: str,
    RESTARTED: bool,
}
_MAPS: dict[str, dict[str, type]] = {
    STOPPED: {"why": str, "rules": str, "rules_after": str, "max_evals": int},
    EARLY_STOP: {"by": str, "arguments": bytes, "ended": int},
}
"""Settings that are maps, with the types of their fields; None if the setting was withdrawn."""


def check_settings(value: Any) -> dict[str, Any]:
    """Check the settings of a search: known ones for their type, others for plain data."""
    settings = typed(value, dict)
    for key, setting in settings.items():
        typed(key, str)
        setting_type = _SETTINGS.get(key)
        if setting_type is int:
            whole(setting)
        elif setting_type is not None:
            typed(setting, setting_type)
        if key == OUTAGE:
            check_outage(setting)
        if setting is not None:
            for name, field_type in _MAPS.get(key, {}).items():
                typed(typed(setting, dict)[name], field_type)
    if not is_exact(settings):
        raise ValueError("the settings nest too deeply")
    return settings


def check_outage(value: Any) -> list[float]:
    """Check the start and end of an outage of the store."""
    began, ended = typed(value, list)
    return [moment(began), moment(ended)]
