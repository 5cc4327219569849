"""Loading a `.keras` file that may come from somebody else, with errors a user can act on.

Keras decides what is safe (`safe_mode=True`: no pickled lambda). This module looks into the file
first, so that a bomb is not unpacked, and afterwards, so that the error names the class.
"""

import json
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from colab_drive_tuner.errors import ModelError

_CONFIG = "config.json"
_MOST_CONFIG = 64 << 20
_MOST_GROWTH = 20
"""Unpacked, a model is at most so many times larger than its file, and 64 MiB."""
_REGISTER = "@keras.saving.register_keras_serializable()"


def load_keras_file(
    path: Path,
    *,
    what: str,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
) -> Any:
    """Load the model at `path`; `what` names it in errors.

    Raises `ModelError` for a model with a lambda while `safe_mode` is on, for a class or function
    that is neither Keras's nor registered, and for a file that is damaged or hostile.
    """
    import keras

    config = _checked_config(path, what)
    try:
        return keras.saving.load_model(
            path, custom_objects=dict(custom_objects or {}), safe_mode=safe_mode
        )
    except Exception as error:  # a hostile file can fail in any way
        raise _explained(error, config, what, dict(custom_objects or {}), safe_mode) from error


def _checked_config(path: Path, what: str) -> Any:
    """The configuration inside the file, or `ModelError` where it is no sound `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/"))
                if parts.is_absolute() or ".." in parts.parts:
                    raise ModelError(f"{what} holds a file {member.filename!r} outside of itself.")
            most = _MOST_GROWTH * path.stat().st_size + _MOST_CONFIG
            if sum(member.file_size for member in members) > most:
                raise ModelError(
                    f"{what} would unpack to far more than it holds; it is not loaded."
                )
            if archive.getinfo(_CONFIG).file_size > _MOST_CONFIG:
                raise ModelError(f"{what} has a configuration larger than any model's.")
            return json.loads(archive.read(_CONFIG))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, OSError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{what} is no readable .keras file: {error}") from error


def _explained(
    error: Exception, config: Any, what: str, custom_objects: Mapping[str, Any], safe_mode: bool
) -> ModelError:
    nodes = list(_nodes(config))
    if safe_mode and any(node["class_name"] == "__lambda__" for node in nodes):
        return ModelError(
            f"{what} has a Lambda layer: loading it runs code that lies in the file. If you trust "
            "who wrote it, say so: result.load_model(safe_mode=False). Or write the layer as a "
            "registered class."
        )
    for node in nodes:
        if name := _unknown(node, custom_objects):
            kind = "function" if node["class_name"] == "function" else "class"
            return ModelError(
                f"{what} needs the {kind} {name!r}, which Keras does not know here. Put "
                f"{_REGISTER} above its definition and run that before loading, or pass it: "
                f"result.load_model(custom_objects={{{name!r}: {name}}})."
            )
    return ModelError(f"{what} cannot be loaded: {_short(error)}")


def _nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every serialized object in a configuration, outermost first."""
    todo = deque([config])
    while todo:
        value = todo.popleft()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)


def _unknown(node: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> str | None:
    """The name of the node's class or function, where it is neither Keras's nor registered."""
    import keras

    module = node.get("module")
    if node["class_name"] == "__lambda__" or (module and str(module).split(".")[0] == "keras"):
        return None
    config = node.get("config")
    name = str(node.get("registered_name") or node["class_name"])
    if node["class_name"] == "function":
        name = str(config.get("name") if isinstance(config, dict) else config)
        if any(hasattr(part, name) for part in (keras.losses, keras.metrics, keras.activations)):
            return None
    elif module == "builtins":
        return None
    if keras.saving.get_registered_object(name, custom_objects=dict(custom_objects)) is not None:
        return None
    return name.rsplit(">", 1)[-1]


def _short(error: Exception) -> str:
    """The cause in Keras's message, in a line: a whole configuration may lie around it."""
    cause = str(error).rpartition("Exception encountered: ")[2]
    lines = cause.strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
