"""A search: the loop that runs trials, hyperopt's Trials kept in a store, and what comes out.

Import the modules, not this package's front, where speed of import matters: whatever needs hyperopt
is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.export import export_trials, import_trials
    from colab_drive_tuner.search.result import SearchResult
    from colab_drive_tuner.search.resume import resume_search
    from colab_drive_tuner.search.status import SearchStatus, list_searches, read_status

__all__ = [
    "DriveTrials",
    "SearchResult",
    "SearchStatus",
    "export_trials",
    "import_trials",
    "list_searches",
    "read_status",
    "resume_search",
]

_LAZY = {
    "DriveTrials": "drive_trials",
    "SearchResult": "result",
    "SearchStatus": "status",
    "export_trials": "export",
    "import_trials": "export",
    "list_searches": "status",
    "read_status": "status",
    "resume_search": "resume",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no more."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
