"""Safe loading of `.keras` files of unknown origin, with actionable errors.

Keras refuses unsafe content (`safe_mode=True`: no pickled lambda), but unreliably in versions
before `SAFE_KERAS`. So the file is checked first: the archive must be no zip bomb and have no
members outside its folder, its weights must be inside it, and its configuration must not name parts
of Keras that read, write or load files. Newer Keras versions refuse more of this than older ones.
"""

import io
import json
import re
import stat
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from colab_drive_tuner.errors import ModelError
from colab_drive_tuner.text import visible

SAFE_KERAS = (3, 13, 2)
"""In older versions a crafted file runs code or reads other files despite `safe_mode`:
CVE-2025-1550, -8747, -9906, -12058, CVE-2026-0897, -1462, -1669."""

_CONFIG = "config.json"
_MAX_CONFIG = 16 << 20
_MAX_GROWTH, _MAX_EXTRA = 20, 64 << 20
"""A file may unpack to `_MAX_GROWTH` times its size plus `_MAX_EXTRA` bytes."""
_MAX_MEMBERS = 10_000
_UNKNOWN = re.compile(r"Could not locate (class|function) '(.{1,80}?)'\.")
_LAMBDA_OPTION = re.compile(r"Could not interpret ([a-z ]{1,40}) identifier: \{.*'value': \[")
_TRUST = "If you trust who wrote it, say so: result.load_model(safe_mode=False)"
_MODULES = frozenset(
    (
        *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses"),
        *("metrics", "ops", "optimizers", "quantizers", "random", "regularizers", "src"),
    )
)
"""Keras modules whose objects may be part of a model; others read and write files or change Keras.
"""
_ALLOWED = frozenset({"keras.utils.FeatureSpace"})
_FORBIDDEN = frozenset(
    (
        *("deserialize", "serialize", "get"),  # functions that all of those modules have
        *("TFSMLayer", "TorchModuleWrapper"),  # the files that they load contain code
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
    """Load the model at `path`; raise `ModelError`, which calls it `what`, if that is not safe."""
    import keras

    known = dict(custom_objects or {})
    config = _checked_config(path, what)
    if safe_mode:
        _check_version(keras.__version__, what)
        _check_names(config, what, known)
    try:
        return keras.saving.load_model(path, custom_objects=known, safe_mode=safe_mode)
    except Exception as error:  # a hostile file can fail in any way
        if safe_mode and any(node["class_name"] == "__lambda__" for node in _nodes(config)):
            raise ModelError(
                f"{what} contains a lambda, such as a Lambda layer: loading it runs code from the "
                f"file. {_TRUST}. Or write it as a registered function or class."
            ) from error
        # Keras's message may include a whole configuration.
        cause = str(error).rpartition("Exception encountered: ")[2].strip()
        if option := _LAMBDA_OPTION.match(cause):
            raise ModelError(
                f"{what} has a lambda as its {option[1]}, which Keras saves but cannot load. Its "
                "weights can be loaded into the model that your code builds: "
                "model.load_weights(file). For later trials write the lambda as a function with "
                "@keras.saving.register_keras_serializable() above it."
            ) from error
        if unknown := _UNKNOWN.match(cause):
            kind, name = unknown.groups()
            raise ModelError(
                f"{what} needs the {kind} {name!r}, which Keras does not know here. Put "
                "@keras.saving.register_keras_serializable() above its definition and run that "
                "before loading, or pass it: "
                f"result.load_model(custom_objects={{{name!r}: {name}}})."
            ) from error
        lines = cause.splitlines() or [type(error).__name__]
        message, writer = visible(lines[0][:200]), _version_of_writer(path)
        if writer not in ("", keras.__version__):
            message += f" It was saved by Keras {writer}, and this is Keras {keras.__version__}."
        raise ModelError(f"{what} cannot be loaded: {message}") from error


def _version_of_writer(path: Path) -> str:
    """Return the version of Keras that saved a checked file; empty if the file does not say."""
    with suppress(Exception), zipfile.ZipFile(path) as archive:  # a hostile file again
        return visible(str(json.loads(archive.read("metadata.json"))["keras_version"])[:20])
    return ""


def _check_version(version: str, what: str) -> None:
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if numbers < SAFE_KERAS:
        required = ".".join(map(str, SAFE_KERAS))
        raise ModelError(
            f"{what} is not loaded: Keras {version} runs code and reads files that a crafted model "
            f"names. Install a newer one: pip install 'keras>={required}'. {_TRUST}."
        )


def _checked_config(path: Path, what: str) -> Any:
    """Return the configuration in the file; raise `ModelError` if it is no valid `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path.stat().st_size, what)
            if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG:
                raise ModelError(f"{what} has a configuration larger than any model's.")
            config = json.loads(archive.read(_CONFIG))
            for member in archive.infolist():
                if member.filename.endswith(".h5"):
                    _check_weights(archive, member, what)
            return config
    except ModelError:
        raise
    except Exception as error:  # a hostile file can fail in any way
        raise ModelError(f"{what} is not a readable .keras file: {str(error)[:200]}") from error


def _check_members(members: list[zipfile.ZipInfo], size: int, what: str) -> None:
    """Refuse paths outside the archive, duplicates, links, zip bombs and `.npz` weights."""
    names = set()
    for member in members:
        name = member.filename.replace("\\", "/")
        outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive
        if outside or ".." in PurePosixPath(name).parts or stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"{what} contains {name[:80]!r}, which leads outside the archive.")
        if name in names or name.endswith(".npz"):
            reason = "twice" if name in names else "which Keras does not write"
            raise ModelError(f"{what} contains {name[:80]!r} {reason}; it is not loaded.")
        names.add(name)
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MAX_GROWTH * size + _MAX_EXTRA or len(members) > _MAX_MEMBERS:
        raise ModelError(f"{what} would unpack to far more than its size; it is not loaded.")


def _check_weights(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> None:
    """Refuse weights in other files, and datasets declared far larger than stored.

    Keras also checks, but soft links and virtual datasets only since 3.14.
    """
    import h5py

    with archive.open(member) as stored:
        # Each backward seek in a compressed member would unpack it again; Keras compresses none.
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
        raise ModelError(f"{what} has weights in another file; it is not loaded.")
    if dataset.nbytes > _MAX_GROWTH * dataset.id.get_storage_size() + _MAX_EXTRA:
        raise ModelError(f"{what} declares weights far larger than stored; it is not loaded.")


def _check_names(config: Any, what: str, custom_objects: Mapping[str, Any]) -> None:
    """Refuse names anywhere in the configuration of Keras objects that are no part of a model."""
    import keras

    for node in _nodes(config):
        if "config" not in node:
            continue
        module, name = str(node.get("module") or "builtins"), str(node["class_name"])
        registered = str(node.get("registered_name", name))
        if name == "function":  # Keras ignores `registered_name` here
            name = registered = str(node.get("config"))
        if keras.saving.get_registered_object(registered, dict(custom_objects)) is not None:
            continue
        root, _, part = module.partition(".")
        part = part.partition(".")[0]
        if root not in ("keras", "builtins"):
            continue  # Keras finds no such object, or a package of the Keras family checks it
        allowed = not part or part in _MODULES or (part == "models" and name in _MODELS)
        if name in _FORBIDDEN or not (allowed or f"{module}.{name}" in _ALLOWED):
            raise ModelError(
                f"{what} names {module[:80]}.{name[:80]}, which is not part of a model: it can "
                f"read, write or run what the file wants. {_TRUST}."
            )
        inner = node["config"]
        if isinstance(inner, dict) and isinstance(path := inner.get("vocabulary"), str):
            raise ModelError(
                f"{what} takes a vocabulary from {path[:80]!r}, a file on this machine. {_TRUST}."
            )


def _nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every serialized object in a configuration, outermost first."""
    todo = deque([config])
    while todo:
        value = todo.popleft()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
