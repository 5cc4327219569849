"""Local Google Drive server for tests: Drive v3 and v2, accounts, persistence and faults.

It follows the documentation of Google Drive, serves any HTTP client, and does not import the rest
of this package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .drive_emulator import DriveEmulator
    from .server import serve

__all__ = ["DriveEmulator", "serve"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can import this package just to show its help.
    if name in __all__:
        from . import drive_emulator, server

        return server.serve if name == "serve" else drive_emulator.DriveEmulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
