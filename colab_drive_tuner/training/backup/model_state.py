"""Variables of the model that a `fit` trains, saved and restored together or not at all."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import keras

from colab_drive_tuner.training.backup.pack import pack_or_none
from colab_drive_tuner.training.backup.unpack import Unpacker
from colab_drive_tuner.training.backup.variable_paths import (
    IncompatibleBackupError,
    TrainableChangedError,
    Variables,
    check_compatible,
    is_variable,
    set_value,
    value_of,
    variables_of,
    walk,
)


def capture_model(model: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of all variables among the `parts` of a model, and its build config."""
    variables = {path: part for path, part in parts.items() if is_variable(part)}
    paths = {id(variable): path for path, variable in variables.items()}
    return {
        "variables": {path: value_of(variable) for path, variable in variables.items()},
        "trained": _trained(variables),
        "metrics": sorted(paths[key] for key in _reset_each_epoch(model) if key in paths),
        "build": pack_or_none(model.get_build_config()),
        "optimizers": {
            path: [paths[id(v)] for v in part._trainable_variables if id(v) in paths]
            for path, part in parts.items()
            if isinstance(part, keras.optimizers.Optimizer)
        },
    }


def prepare_model_restore(
    model: Any, state: Mapping[str, Any], build_rest: Callable[[], None]
) -> Callable[[], None]:
    """Build the model as it was built, check it, and return a function that sets all variables.

    `build_rest` builds what Keras otherwise builds during training. Raises
    `IncompatibleBackupError`, with no variable changed, if the backup does not fit the model.
    """
    if not model.built:
        with suppress(IncompatibleBackupError):
            build_rest()  # for today's data: built for other data, it could not train
    if not model.built and state["build"]:
        model.build_from_config(Unpacker().unpack(state["build"]))
    arrays, optional = state["variables"], frozenset(state["metrics"])
    # Checked before anything else is built: that would affect a `fit` that starts from scratch.
    _check_existing(variables_of(model), state)
    variables = _build_optimizers(model, state["optimizers"])
    if missing := arrays.keys() - variables.keys():
        try:
            build_rest()
        except IncompatibleBackupError:
            if missing - optional:
                raise
        variables = _build_optimizers(model, state["optimizers"])
    reset = _reset_each_epoch(model)
    check_compatible(
        {path: v for path, v in variables.items() if path in arrays or id(v) not in reset},
        arrays,
        optional,
    )

    def restore() -> None:
        for path in arrays.keys() & variables.keys():
            set_value(variables[path], arrays[path])

    return restore


def _check_existing(variables: Variables, state: Mapping[str, Any]) -> None:
    """Raise `IncompatibleBackupError` if a variable that exists already differs."""
    arrays, trained = state["variables"], set(state["trained"])
    common = arrays.keys() & variables.keys()
    check_compatible({p: variables[p] for p in common}, {p: arrays[p] for p in common})
    if set(_trained(variables)) & common != trained & common:
        raise TrainableChangedError("other variables were being trained (`trainable` differs)")


def _build_optimizers(model: Any, trained: Mapping[str, list[str]]) -> Variables:
    """Build each optimizer for the variables that it trained; return the model's variables."""
    variables = variables_of(model)
    optimizers = {
        path: part for path, part in walk(model) if isinstance(part, keras.optimizers.Optimizer)
    }
    if optimizers.keys() != trained.keys():
        raise IncompatibleBackupError("it has other optimizers")
    was_built = False
    for path, optimizer in optimizers.items():
        wanted = trained[path]
        if wanted and not optimizer.built and variables.keys() >= set(wanted):
            optimizer.build([variables[name] for name in wanted])
            was_built = True
    return variables_of(model) if was_built else variables


def _trained(variables: Variables) -> list[str]:
    """Return the paths of Keras's trainable variables; freezing layers changes them."""
    return sorted(path for path, v in variables.items() if getattr(v, "trainable", False))


def trainable_paths(model: Any) -> list[str]:
    """Return the paths of the model's currently trainable variables."""
    return _trained(variables_of(model))


def _reset_each_epoch(model: Any) -> set[int]:
    """Return the ids of the metric variables that Keras's own code resets when an epoch starts."""
    if not type(model).reset_metrics.__module__.startswith("keras."):
        return set()
    ids: set[int] = set()
    for metric in model.metrics:
        for part in getattr(metric, "metrics", None) or [metric]:
            inner = [m for _, m in walk(part) if isinstance(m, keras.metrics.Metric)]
            if all(type(m).reset_state.__module__.startswith("keras.") for m in inner):
                ids |= {id(variable) for variable in part.variables}
    return ids


def symbolic_build(model: Any, iterator: Any) -> None:
    """Build metrics and losses from the shapes of a batch, before training.

    With TensorFlow, Keras builds them in the first training step: too late to restore metrics that
    are never reset. With JAX and PyTorch they are already built. No data is consumed. The optimizer
    is not built: a backup lists the variables that it is built for.
    """
    dataset = getattr(iterator, "_distributed_dataset", None)
    tensorflow = sys.modules.get("tensorflow")
    if dataset is None or tensorflow is None:
        return
    optimizer = model.optimizer
    is_unbuilt = optimizer is not None and not optimizer.built
    try:
        batch = tensorflow.nest.map_structure(
            lambda spec: keras.KerasTensor(spec.shape, spec.dtype.name), dataset.element_spec
        )
        if is_unbuilt:
            optimizer.built = True
        model._symbolic_build(data_batch=batch)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise IncompatibleBackupError(
            f"it cannot be built before it trains: {reason[0][:200]}"
        ) from error
    finally:
        if is_unbuilt:
            optimizer.built = False
