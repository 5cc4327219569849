"""Classes and functions by name, as another process knows them."""

import sys
from types import FunctionType
from typing import Any


def name_of(kind: Any) -> str:
    """A class's or function's module and name."""
    return f"{kind.__module__}:{kind.__qualname__}"


def short(name: str) -> str:
    """A name without its module."""
    return name.partition(":")[2]


def identity(value: Any) -> str:
    """What a thing that stays as it is must agree in: a function's name, or a class's."""
    return name_of(value if isinstance(value, FunctionType) else type(value))


def find(name: str) -> Any:
    """The user's own class or function of that name, if its module is loaded; None otherwise."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type | FunctionType) or name_of(found) != name:
        return None
    return found if is_users_own(found) else None


def is_users_own(kind: Any) -> bool:
    """Whether a class or function was written by the user: in a notebook, a script or a package.

    Those of the standard library and of installed packages were not.
    """
    module = str(kind.__module__)
    root = module.partition(".")[0]
    if root == "__main__":
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return root not in sys.stdlib_module_names and bool(file) and not installed
