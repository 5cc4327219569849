"""Names of classes and functions in a backup, and lookup of user-defined ones by name."""

import sys
from types import FunctionType
from typing import Any


def qualified_name(kind: Any) -> str:
    """Return the module and qualified name of a class or function."""
    return f"{kind.__module__}:{kind.__qualname__}"


def without_module(name: str) -> str:
    """Return a qualified name without its module."""
    return name.partition(":")[2]


def identity(value: Any) -> str:
    """Return the name that identifies an unsaved object: a function's own, else the class's."""
    return qualified_name(value if isinstance(value, FunctionType) else type(value))


def find_by_name(name: str) -> Any:
    """Return the user-defined class or function of that name; None if its module is not loaded."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type | FunctionType) or qualified_name(found) != name:
        return None
    return found if is_user_defined(found) else None


def is_user_defined(kind: Any) -> bool:
    """Return whether a class or function is in a notebook, a script or a package of the user.

    False for the standard library and installed packages.
    """
    module = str(kind.__module__)
    root = module.partition(".")[0]
    if root == "__main__":
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return root not in sys.stdlib_module_names and bool(file) and not installed
