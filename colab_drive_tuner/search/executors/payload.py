"""The pickled objective for workers; refuses stores, credentials and the like, by name."""

import hashlib
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.spec.user_objects import reachable
from colab_drive_tuner.templates.function_source import global_names, is_users_module
from colab_drive_tuner.text import text_of

_REFUSED: dict[str, frozenset[str]] = {
    "colab_drive_tuner": frozenset({"DriveClient", "Journal", "Session", "StoredTrials"}),
    "google": frozenset({"Credentials", "AuthorizedSession"}),
    "google_auth_httplib2": frozenset({"AuthorizedHttp"}),
    "googleapiclient": frozenset({"Resource", "HttpRequest"}),
    "oauth2client": frozenset({"Credentials"}),
    "pydrive2": frozenset({"GoogleAuth", "GoogleDrive"}),
}
"""Classes, by package, whose instances must stay in the driver; subclasses too."""


class Payload(NamedTuple):
    """A search's objective and space, which a worker loads once to run any trial."""

    sha: str
    content: bytes


def pack(objective: Callable[..., Any], space: Any, pass_expr_memo_ctrl: bool | None) -> Payload:
    """Pickle the objective and its space.

    Functions of notebooks, lambdas and functions of the objective's own module are pickled by
    value: a remote worker need not have that module. Raises `UsageError` for an object that must
    stay in this process or that cannot be pickled.
    """
    check_sendable(objective)  # also finds what a result's pickle leaves out
    content = _dump((objective, space, pass_expr_memo_ctrl), objective)
    return Payload(hashlib.sha256(content).hexdigest(), content)


def check_sendable(objective: Callable[..., Any]) -> None:
    """Raise for an objective that `pack` would refuse; for threads, where nothing is pickled.

    So an objective runs either on every kind of worker or on none.
    """
    for _, value in reachable(objective):
        if _is_refused(value):
            raise _refusal(objective, value)


def _dump(value: Any, objective: Callable[..., Any]) -> bytes:
    try:
        try:
            with _by_value(_own_modules(objective)):
                return _pickle(value, objective)
        except UsageError:
            raise
        except Exception:  # noqa: BLE001 - another object of the module; by name it may work
            return _pickle(value, objective)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            "The objective cannot be sent to the workers of executor= "
            f"({text_of(error).rstrip('.')}): create what cannot be pickled, such as a lock, an "
            "open file or a connection, in the objective or in the data function. Or run it on "
            "threads: executor=ThreadPoolExecutor(n)."
        ) from error


def _pickle(value: Any, objective: Callable[..., Any]) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
        """Pickles by value and raises `UsageError` for what must stay in the driver."""

        def reducer_override(self, obj: Any) -> Any:
            if _is_refused(obj):
                raise _refusal(objective, obj)
            reduced = super().reducer_override(obj)
            if isinstance(obj, FunctionType) and isinstance(reduced, tuple):
                _add_names_in_classes(obj, reduced[2])
            return reduced

    file = io.BytesIO()
    Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


def _add_names_in_classes(function: FunctionType, state: tuple[Any, dict[str, Any]]) -> None:
    """Include the globals that class bodies inside the function read.

    cloudpickle overlooks them, such as the decorator or annotation of a callback's method.
    """
    available, pickled = function.__globals__, state[1]["__globals__"]
    for name in sorted(global_names(function.__code__) & available.keys() - pickled.keys()):
        if not name.startswith("__"):
            pickled[name] = available[name]


def _is_refused(value: Any) -> bool:
    kind = type(value)
    # Any store, also one of a third party, is recognised by its methods.
    return all(hasattr(kind, name) for name in ("reserve", "set_properties", "for_search")) or any(
        one.__name__ in _REFUSED.get(one.__module__.partition(".")[0], ()) for one in kind.__mro__
    )


def _refusal(objective: Callable[..., Any], refused: Any) -> UsageError:
    name = next((name for name, value in reachable(objective) if value is refused), "")
    kind = type(refused).__name__
    return UsageError(
        f"The objective holds {f'{name}: ' if name else ''}{kind}, which must not be sent to "
        "workers: only this process uses the store and credentials. Pass the objective the plain "
        "data that it needs; its result is recorded from here."
    )


def _own_modules(objective: Callable[..., Any]) -> list[ModuleType]:
    """Return the user's modules, without libraries, that the objective is from or refers to."""
    used = [objective, *(value for _, value in reachable(objective))]
    names = {getattr(one, "__module__", None) for one in used} | {
        type(one).__module__ for one in used
    }
    return [
        sys.modules[name]
        for name in names
        if isinstance(name, str) and name in sys.modules and is_users_module(name)
    ]


@contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    import cloudpickle

    registered = cloudpickle.list_registry_pickle_by_value()
    # Definitions in `__main__` are pickled by value in any case.
    added = [one for one in modules if one.__name__ not in {"__main__", *registered}]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)
