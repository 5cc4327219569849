"""All variables of the model that a `fit` trains, saved and restored together or not at all."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import keras

from colab_drive_tuner.training.backup.pack import pack_or_none
from colab_drive_tuner.training.backup.unpack import Unpacker
from colab_drive_tuner.training.backup.variables import (
    DoesNotFitError,
    TrainableChangedError,
    Variables,
    is_variable,
    refuse_misfits,
    set_value,
    value_of,
    variables_of,
    walk,
)


def capture_model(model: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of all variables among the `parts` of a model, and how it was built."""
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


def prepare_restore(
    model: Any, state: Mapping[str, Any], build_rest: Callable[[], None]
) -> Callable[[], None]:
    """Build what was built, compare, and return a function that sets all variables.

    `build_rest` builds what Keras builds only while it trains. Raises `DoesNotFitError`, with no
    variable changed, where anything of the backup has no place here.
    """
    if not model.built and state["build"]:
        model.build_from_config(Unpacker().unpack(state["build"]))
    arrays, optional = state["variables"], frozenset(state["metrics"])
    # Before more is built, which a `fit` that begins anew would notice.
    _refuse_others(variables_of(model), state)
    here = _built(model, state["optimizers"])
    if missing := arrays.keys() - here.keys():
        try:
            build_rest()
        except DoesNotFitError:
            if missing - optional:
                raise
        here = _built(model, state["optimizers"])
    reset = _reset_each_epoch(model)
    refuse_misfits(
        {path: v for path, v in here.items() if path in arrays or id(v) not in reset},
        arrays,
        optional,
    )

    def restore() -> None:
        for path in arrays.keys() & here.keys():
            set_value(here[path], arrays[path])

    return restore


def _refuse_others(here: Variables, state: Mapping[str, Any]) -> None:
    """Raise `DoesNotFitError` where a variable that is here already is another one."""
    arrays, trained = state["variables"], set(state["trained"])
    common = arrays.keys() & here.keys()
    refuse_misfits({p: here[p] for p in common}, {p: arrays[p] for p in common})
    if set(_trained(here)) & common != trained & common:
        raise TrainableChangedError("other variables were being trained (`trainable` differs)")


def _built(model: Any, trained: Mapping[str, list[str]]) -> Variables:
    """The model's variables, with each optimizer built for those that it had applied to.

    A model with a training step of its own may have several optimizers, each for a part of it.
    """
    here = variables_of(model)
    optimizers = {
        path: part for path, part in walk(model) if isinstance(part, keras.optimizers.Optimizer)
    }
    if optimizers.keys() != trained.keys():
        raise DoesNotFitError("it has other optimizers")
    unbuilt = False
    for path, optimizer in optimizers.items():
        wanted = trained[path]
        if wanted and not optimizer.built and here.keys() >= set(wanted):
            optimizer.build([here[name] for name in wanted])
            unbuilt = True
    return variables_of(model) if unbuilt else here


def _trained(variables: Variables) -> list[str]:
    """Which of Keras's variables are trained: freezing layers in mid-`fit` changes it."""
    return sorted(path for path, v in variables.items() if getattr(v, "trainable", False))


def trained_in(model: Any) -> list[str]:
    """The paths of the variables that the model trains as it is now."""
    return _trained(variables_of(model))


def _reset_each_epoch(model: Any) -> set[int]:
    """The ids of the metrics' variables that Keras sets back when an epoch begins.

    Not those of metrics, or models, with a way of their own to reset.
    """
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
    """Build metrics and losses from the shapes of a batch, as Keras does where it trains later.

    With TensorFlow Keras builds them in the first training step, too late for what never resets;
    with JAX and PyTorch they are built by now. Nothing is taken from the data. The optimizer is
    left as it is: which variables it is for, if any, a backup knows.
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
        raise DoesNotFitError(f"it cannot be built before it trains: {reason[0][:200]}") from error
    finally:
        if is_unbuilt:
            optimizer.built = False
