"""Import hook that makes hyperas importable on Keras 3 and wraps its functions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

Wrap = Callable[[ModuleType], object]


class HyperasFinder(MetaPathFinder):
    """Finds hyperas's modules like Python does, and replaces their loader.

    Args:
        wrap: Called with the module `hyperas.optim` after it is loaded.
    """

    def __init__(self, wrap: Wrap) -> None:
        self.wrap = wrap

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a hyperas module with a patched loader; None for other modules."""
        if fullname not in ("hyperas.ensemble", "hyperas.optim"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _HyperasLoader(spec.loader, self.wrap)
        return spec


class _HyperasLoader(Loader):
    """Loads a module with its original loader, and then restores that loader."""

    def __init__(self, original: Loader, wrap: Wrap) -> None:
        self.original, self.wrap = original, wrap

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.original
        if module.__spec__ is not None:
            module.__spec__.loader = self.original
        if module.__name__ == "hyperas.ensemble":
            with _model_from_yaml():
                self.original.exec_module(module)
        else:
            self.original.exec_module(module)
            self.wrap(module)


@contextmanager
def _model_from_yaml() -> Iterator[None]:
    """Context manager that defines `keras.models.model_from_yaml`, which Keras 3 has removed."""
    from keras import models

    if hasattr(models, "model_from_yaml"):
        yield
        return

    def model_from_yaml(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Keras no longer reads YAML: save and load models as .keras files.")

    models.model_from_yaml = model_from_yaml
    try:
        yield
    finally:
        del models.model_from_yaml
