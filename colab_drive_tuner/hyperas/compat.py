"""Compatibility of the unmodified hyperas package (0.4.1 and later) with Keras 3 and hyperopt.

This is the only monkeypatch of this package in the user's process. `enable` only adds an import
hook; when hyperas is imported, some of its functions are wrapped, and `disable` restores them.
Differences from hyperas:

- `keras.models.model_from_yaml`, which Keras has removed, exists while hyperas imports it.
- hyperopt gets a `Generator` seeded with hyperas's `rseed`; it no longer accepts a `RandomState`.
- Layers among the options of a choice are created for each trial. hyperas creates them once, and a
  reused layer carries weights and random state into trials that a resumed search runs without them.
- `temp_model` is imported from memory: no temp_model.py is written, left behind or removed.
- Imports are read from notebooks cell by cell, so that magics, broken cells and other encodings are
  harmless, and `notebook_name` may be a path or end in `.ipynb`.
- `best_models` returns the models with the lowest losses, best first; hyperas returns the highest.
- Names that the model uses and hyperas did not find (helpers, constants, imports missing from the
  saved notebook) come from the running session; an undefined name is an immediate error.
"""

import inspect
import json
import linecache
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.hyperas.generated_module import (
    TEMP_FILE,
    cannot_rewrite,
    check_generated_text,
    check_source_readable,
    collect_imports,
    has_source,
)
from colab_drive_tuner.notebook.cells import global_names, new_notebook
from colab_drive_tuner.version import installed_version

Notify = Callable[[str], object]


@dataclass(frozen=True)
class _Run:
    """A call of hyperas's minimizer."""

    rseed: int | None
    keep_temp: bool
    names: Mapping[str, Any]
    """The globals of the model and data functions."""


_run: ContextVar[_Run] = ContextVar("hyperas_run")


class _Patch(MetaPathFinder):
    """Finds the modules of hyperas like Python does, and wraps functions when they are loaded."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._optim: ModuleType | None = None
        self._originals: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in ("hyperas.ensemble", "hyperas.optim"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = partial(self._load, spec.loader.exec_module)
            spec.loader.exec_module = load  # type: ignore[method-assign]  # of this loader alone
        return spec

    def _load(self, load: Callable[[ModuleType], object], module: ModuleType) -> None:
        if module.__name__ == "hyperas.optim":
            load(module)
            self.wrap(module)
            return
        from keras import models

        models.model_from_yaml = _model_from_yaml
        try:
            load(module)
        finally:
            del models.model_from_yaml

    def wrap(self, optim: ModuleType) -> None:
        """Replace functions of `hyperas.optim`, and say so."""
        self._optim = optim
        wrappers: dict[str, Callable[[Any], Any]] = {
            "base_minimizer": _base_minimizer,
            "get_hyperopt_model_string": partial(_model_string, self._notify),
            "write_temp_files": _write_temp_files,
            "fmin": _fmin,
            "best_models": partial(_best_models, optim),
        }
        for name, wrapper in wrappers.items():
            original = self._originals[name] = getattr(optim, name)
            setattr(optim, name, wraps(original)(wrapper(original)))
        hyperas, keras, hyperopt = (
            installed_version(name) or "(version unknown)"
            for name in ("hyperas", "keras", "hyperopt")
        )
        self._notify(
            f"hyperas {hyperas} runs on Keras {keras} and hyperopt {hyperopt}: colab_drive_tuner "
            f"wrapped {', '.join(wrappers)} in hyperas.optim "
            "(undo: colab_drive_tuner.hyperas.compat.disable())."
        )

    def undo(self) -> None:
        """Remove the import hook, and restore the functions."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        for name, original in self._originals.items():
            setattr(self._optim, name, original)


_patch: _Patch | None = None


def enable(notify: Notify = print) -> None:
    """Make hyperas importable, without importing it or Keras; its import announces the patches."""
    global _patch  # noqa: PLW0603 - the patches are state of the process
    if _patch is None:
        _patch = _Patch(notify)
        sys.meta_path.insert(0, _patch)
        if (loaded := sys.modules.get("hyperas.optim")) is not None:
            _patch.wrap(loaded)


def disable() -> None:
    """Restore everything; a hyperas that is already imported stays imported, without patches."""
    global _patch  # noqa: PLW0603 - as above
    if _patch is not None:
        _patch.undo()
        _patch = None


def _model_from_yaml(*_: Any, **__: Any) -> Any:
    raise RuntimeError("Keras no longer reads YAML: save and load models as .keras files.")


def _base_minimizer(original: Any) -> Any:
    signature = inspect.signature(original)

    def base_minimizer(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        names = {
            **getattr(inspect.unwrap(given["data"]), "__globals__", {}),
            **getattr(inspect.unwrap(given["model"]), "__globals__", {}),
        }
        run = _Run(given.get("rseed"), bool(given.get("keep_temp")), names)
        given["keep_temp"] = True  # there is no file that hyperas could remove
        before = sys.modules.get("temp_model")
        token = _run.set(run)
        try:
            return original(*bound.args, **bound.kwargs)
        finally:
            _run.reset(token)
            sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _TempModel)]
            if before is not None and not isinstance(before.__loader__, _TempModel):
                sys.modules["temp_model"] = before  # the user's own module of that name

    return base_minimizer


def _best_models(optim: ModuleType, original: Any) -> Any:
    signature = inspect.signature(original)

    def best_models(*args: Any, **kwargs: Any) -> list[Any]:
        from colab_drive_tuner.search.trials.returned_models import (
            best_returned_models,
            check_keep_models,
        )

        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        number = bound.arguments.pop("nb_models")
        check_keep_models(bound.arguments["trials"], number)
        optim.base_minimizer(**bound.arguments, stack=4)
        return best_returned_models(bound.arguments["trials"], number)

    return best_models


def _fmin(original: Any) -> Any:
    def fmin(objective: Any, **kwargs: Any) -> Any:
        import numpy as np

        if isinstance(kwargs.get("rstate"), np.random.RandomState):
            kwargs["rstate"] = np.random.default_rng(_run.get().rseed)
        return original(_with_rebuilt_options(objective, kwargs["space"]), **kwargs)

    return fmin


def _with_rebuilt_options(objective: Any, space: Mapping[str, Any]) -> Any:
    """Wrap hyperas's objective so that layers among a choice's options are new in every call."""
    from colab_drive_tuner.templates.fresh_options import rebuild_options

    get_space = objective.__globals__["get_space"]
    expressions = {label: lambda label=label: get_space()[label] for label in space}

    @wraps(objective)
    def call(values: Mapping[str, Any]) -> Any:
        return objective(rebuild_options(values, space, expressions))

    return call


def _write_temp_files(original: Any) -> Any:
    def write_temp_files(tmp_str: str, path: str = "./temp_model.py") -> None:
        run = _run.get()
        used, _ = global_names(tmp_str, TEMP_FILE)
        supplied = {name: run.names[name] for name in used if name in run.names}
        sys.meta_path.insert(0, _TempModel(tmp_str, supplied))
        if run.keep_temp:
            file = Path(path)
            if file.exists() and b"def keras_fmin_fnct(space):" not in file.read_bytes():
                raise UsageError(
                    f"{file.resolve()} was not written by hyperas: move it, or omit keep_temp=True."
                )
            original(tmp_str, path)

    return write_temp_files


class _TempModel(MetaPathFinder, Loader):
    """Provides the module `temp_model` from memory; hyperas would have written it to disk."""

    def __init__(self, text: str, supplied: Mapping[str, Any]) -> None:
        self.text, self.supplied = text, supplied

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == "temp_model" else None

    def create_module(self, _: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # With mtime None, checkcache keeps the entry, and tracebacks show hyperas's text.
        lines = self.text.splitlines(keepends=True)
        linecache.cache[TEMP_FILE] = (len(self.text), None, lines, TEMP_FILE)
        module.__file__ = TEMP_FILE  # as in any file, its classes are the user's own
        vars(module).update(self.supplied)
        exec(compile(self.text, TEMP_FILE, "exec", dont_inherit=True), vars(module))  # noqa: S102 - as imports do


def _model_string(notify: Notify, original: Any) -> Any:
    signature = inspect.signature(original)

    def get_hyperopt_model_string(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        given = bound.arguments
        check_source_readable(given["model"], given["data"])
        # The others come from the session, as do a notebook's classes: Python does not read them.
        given["functions"] = [*filter(has_source, given["functions"] or ())]
        imports = collect_imports(given["model"], given["notebook_name"], notify)
        # hyperas reads this notebook instead; it needs a relative name without `.ipynb`.
        with tempfile.TemporaryDirectory() as folder:
            notebook = json.dumps(new_notebook("\n".join(imports)))
            Path(folder, "imports.ipynb").write_text(notebook, "utf-8")
            given["notebook_name"] = os.path.relpath(Path(folder, "imports"))
            try:
                text: str = original(*bound.args, **bound.kwargs)
            except (TypeError, IndexError, SyntaxError) as error:  # no code of the user runs there
                raise cannot_rewrite(given["model"], given["data"], error) from error
        check_generated_text(text, given["model"], given["data"], _run.get().names)
        return text

    return get_hyperopt_model_string
