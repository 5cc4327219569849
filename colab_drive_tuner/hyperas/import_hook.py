"""Import hook for hyperas: Keras has what it imports meanwhile, and its functions are wrapped."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

Wrap = Callable[[ModuleType], object]


class HyperasFinder(MetaPathFinder):
    """Finds hyperas as Python does, and has its modules loaded so that they work.

    Args:
        wrap: Called with `hyperas.optim` once that is loaded.
    """

    def __init__(self, wrap: Wrap) -> None:
        self.wrap = wrap

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python's own spec of hyperas's modules, with a loader of ours; None for all others."""
        if fullname not in ("hyperas.ensemble", "hyperas.optim"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _HyperasLoader(spec.loader, self.wrap)
        return spec


class _HyperasLoader(Loader):
    """Loads as the loader within would, then hands the module back to that one."""

    def __init__(self, within: Loader, wrap: Wrap) -> None:
        self.within, self.wrap = within, wrap

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.within.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.within
        if module.__spec__ is not None:
            module.__spec__.loader = self.within
        if module.__name__ == "hyperas.ensemble":
            with _model_from_yaml():
                self.within.exec_module(module)
        else:
            self.within.exec_module(module)
            self.wrap(module)


@contextmanager
def _model_from_yaml() -> Iterator[None]:
    """Within the block Keras has the name that hyperas imports and Keras 3 no longer has."""
    from keras import models

    if hasattr(models, "model_from_yaml"):
        yield
        return

    def model_from_yaml(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Keras reads no YAML any more: save and load models as .keras files.")

    models.model_from_yaml = model_from_yaml
    try:
        yield
    finally:
        del models.model_from_yaml
