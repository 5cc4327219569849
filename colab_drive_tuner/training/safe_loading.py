"""Loading a `.keras` file that may come from somebody else, with errors a user can act on.

Keras decides what is safe (`safe_mode=True`: no pickled lambda), which its versions before
`SAFE_KERAS` do not do well. This module looks into the file first: the archive holds no bomb and no
name outside of itself, its weights lie in it, and the configuration names nothing of Keras that
reads, writes or loads files; of all that, newer versions of Keras refuse more than older ones.
Afterwards it explains what Keras did not find.
"""

import io
import json
import re
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from colab_drive_tuner.errors import ModelError

SAFE_KERAS = (3, 13, 2)
"""Before it, a crafted file runs code or reads other files in spite of `safe_mode`: CVE-2025-1550,
-8747, -9906, -12058, CVE-2026-0897, -1462, -1669."""

_CONFIG = "config.json"
_MOST_CONFIG = 16 << 20
_MOST_GROWTH, _MOST_FREE = 20, 64 << 20
"""Unpacked, a model is at most so many times larger than its file, and 64 MiB."""
_MOST_MEMBERS = 10_000
_REGISTER = "@keras.saving.register_keras_serializable()"
_TRUST = "If you trust who wrote it, say so: result.load_model(safe_mode=False)"
_MODULES = frozenset(
    (
        *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses"),
        *("metrics", "ops", "optimizers", "quantizers", "random", "regularizers", "src"),
    )
)
"""Parts of Keras that a model is made of; the others read and write files, or change Keras."""
_ALSO = frozenset({"keras.utils.FeatureSpace"})
_NEVER = frozenset(
    (
        *("deserialize", "serialize", "get"),  # each of those parts has them
        *("TFSMLayer", "TorchModuleWrapper"),  # what they load holds code
    )
)
_MODELS = frozenset({"Functional", "Model", "Sequential"})


def load_keras_file(
    path: Path,
    *,
    what: str,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
) -> Any:
    """Load the model at `path`; `what` names it in errors.

    Raises `ModelError` for a model with a lambda while `safe_mode` is on, for a class or function
    that is neither Keras's nor registered, for a file that is damaged or hostile, and for a Keras
    that is too old to load a file of unknown origin.
    """
    import keras

    known = dict(custom_objects or {})
    config = _checked_config(path, what)
    if safe_mode:
        _check_version(keras.__version__, what)
        _check_names(config, what, known)
    try:
        return keras.saving.load_model(path, custom_objects=known, safe_mode=safe_mode)
    except Exception as error:  # a hostile file can fail in any way
        raise _explained(error, config, what, known, safe_mode) from error


def _check_version(version: str, what: str) -> None:
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if numbers < SAFE_KERAS:
        floor = ".".join(map(str, SAFE_KERAS))
        raise ModelError(
            f"{what} is not loaded: Keras {version} runs code and reads files that a crafted model "
            f"names. Install a newer one: pip install 'keras>={floor}'. {_TRUST}."
        )


def _checked_config(path: Path, what: str) -> Any:
    """The configuration inside the file, or `ModelError` where it is not a sound `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path.stat().st_size, what)
            if archive.getinfo(_CONFIG).file_size > _MOST_CONFIG:
                raise ModelError(f"{what} has a configuration larger than any model's.")
            config = json.loads(archive.read(_CONFIG))
            for member in archive.infolist():
                if member.filename.endswith(".h5"):
                    _check_weights(archive, member, what)
            return config
    except ModelError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError),
        *(RuntimeError, NotImplementedError, MemoryError),  # encrypted, deep, in an odd method
    ) as error:
        raise ModelError(f"{what} is not a readable .keras file: {str(error)[:200]}") from error


def _check_members(members: list[zipfile.ZipInfo], size: int, what: str) -> None:
    """Refuse names that lead out, names twice, links, bombs, and weights in another format."""
    names = set()
    for member in members:
        name = member.filename.replace("\\", "/")
        outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive
        if outside or ".." in PurePosixPath(name).parts or stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"{what} holds a file {name[:80]!r} outside of itself.")
        if name in names or name.endswith(".npz"):
            reason = "twice" if name in names else "which Keras does not write"
            raise ModelError(f"{what} holds {name[:80]!r} {reason}; it is not loaded.")
        names.add(name)
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MOST_GROWTH * size + _MOST_FREE or len(members) > _MOST_MEMBERS:
        raise ModelError(f"{what} would unpack to far more than it holds; it is not loaded.")


def _check_weights(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> None:
    """Refuse weights that lie in other files, or are claimed to be far more than is stored.

    Keras looks, too, but at soft links and virtual datasets only since 3.14.
    """
    import h5py

    with archive.open(member) as stored:
        # Packed, each step back would unpack it again; Keras packs nothing.
        plain = member.compress_type == zipfile.ZIP_STORED
        with h5py.File(stored if plain else io.BytesIO(stored.read()), "r") as file:
            groups, seen = [file], set()
            while groups:
                group = groups.pop()
                for name in group:
                    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                        raise ModelError(f"{what} has weights behind a link; it is not loaded.")
                    item = group[name]
                    address = h5py.h5o.get_info(item.id).addr
                    if isinstance(item, h5py.Group) and address not in seen:
                        groups.append(item)
                    elif isinstance(item, h5py.Dataset):
                        _check_dataset(item, what)
                    seen.add(address)


def _check_dataset(dataset: Any, what: str) -> None:
    if dataset.external or dataset.is_virtual:
        raise ModelError(f"{what} has weights that lie in another file; it is not loaded.")
    if dataset.nbytes > _MOST_GROWTH * dataset.id.get_storage_size() + _MOST_FREE:
        raise ModelError(f"{what} has weights far larger than what is stored; it is not loaded.")


def _check_names(config: Any, what: str, custom_objects: Mapping[str, Any]) -> None:
    """Refuse what is Keras's and no part of a model, wherever the configuration names it."""
    import keras

    for node in _nodes(config):
        if "config" not in node:
            continue
        module, name = str(node.get("module") or "builtins"), str(node["class_name"])
        registered = str(node.get("registered_name", name))
        if name == "function":  # which Keras looks up by its name, whatever it is registered as
            name = registered = str(node.get("config"))
        if keras.saving.get_registered_object(registered, dict(custom_objects)) is not None:
            continue
        root, _, part = module.partition(".")
        part = part.partition(".")[0]
        if root not in ("keras", "builtins"):
            continue  # Keras finds no such thing, or a package of its own family vouches for it
        allowed = not part or part in _MODULES or (part == "models" and name in _MODELS)
        if name in _NEVER or not (allowed or f"{module}.{name}" in _ALSO):
            raise ModelError(
                f"{what} names {module[:80]}.{name[:80]}, which is not part of a model: it can "
                f"read, write or run what the file wants. {_TRUST}."
            )
        inner = node["config"]
        if isinstance(inner, dict) and isinstance(path := inner.get("vocabulary"), str):
            raise ModelError(
                f"{what} takes a vocabulary from {path[:80]!r}, a file of this machine. {_TRUST}."
            )


def _explained(
    error: Exception, config: Any, what: str, custom_objects: Mapping[str, Any], safe_mode: bool
) -> ModelError:
    nodes = list(_nodes(config))
    if safe_mode and any(node["class_name"] == "__lambda__" for node in nodes):
        return ModelError(
            f"{what} has a Lambda layer: loading it runs code that lies in the file. {_TRUST}. Or "
            "write the layer as a registered class."
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
    if node["class_name"].startswith("__") or (module and str(module).split(".")[0] == "keras"):
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
