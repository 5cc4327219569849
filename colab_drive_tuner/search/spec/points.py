"""Points of a search space: validation, and completion with inactive parameters.

A parameter of an option that a point does not choose is inactive. hyperopt's algorithms record it
without a value, and TPE and annealing fail with a `KeyError` on a trial that does not name it. A
point given by the user is therefore completed before it becomes a trial, and refused if hyperopt
would fail on it later, or learn from a value that no trial used.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from hyperopt.base import JOB_STATE_NEW, JOB_STATE_RUNNING
from hyperopt.fmin import generate_trial
from hyperopt.pyll import as_apply, dfs, rec_eval
from hyperopt.pyll.base import Literal, MissingArgument

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.spec.arguments import BEGIN_AGAIN
from colab_drive_tuner.search.spec.space_values import parameters_of, plain, point_of
from colab_drive_tuner.search.trial_documents import name_all_parameters

_INDICES = ("randint", "categorical")
"""Distributions of integers: of `hp.randint`, and of the index of an option."""
_ROUNDING = 1e-9
"""Relative tolerance beyond a bound, because exp(log(1e-5)) is not 1e-5."""


class ParameterSpace:
    """The hyperparameters of a space, and the conditions under which a point uses them."""

    def __init__(self, space: Any) -> None:
        self._expression = as_apply(space)
        nodes = dfs(self._expression)
        self._parameters = parameters_of(space)
        self.labels = frozenset(self._parameters)
        self._truncated = {
            label
            for label, node in self._parameters.items()
            if node.arg["obj"].name not in _INDICES and _is_truncated(node, nodes)
        }

    def complete(self, point: Mapping[str, Any], what: str) -> dict[str, list[Any]]:
        """Return the point as in hyperopt's documents: [value] by label, or [] if inactive.

        Raises `UsageError`, which begins with `what`, if the point is not valid in the space.
        """
        if unknown := point.keys() - self.labels:
            has = ", ".join(sorted(map(str, self.labels)))
            raise UsageError(
                f"{what} names {', '.join(sorted(map(str, unknown)))}, which the space does not "
                f"have; it has {has}."
            )
        values = self._used_values(point, what)
        for label in point:
            if self._parameters[label] not in values:
                raise UsageError(
                    f"{what} gives a value for {label!r}, which belongs to an option that it does "
                    "not choose: leave it out."
                )
        return {
            label: [values[node]] if node in values else []
            for label, node in self._parameters.items()
        }

    def check_runnable(self, point: Mapping[str, Any], what: str) -> None:
        """Raise `UsageError` if hyperopt cannot evaluate the point; ranges are not checked."""
        self.check_indices(point, what)
        self._used_values(point, what, ranges=False)

    def check_indices(self, point: Mapping[str, Any], what: str) -> None:
        """Raise `UsageError` if a value is not a valid index of a parameter's options."""
        for label, arguments in self._options.items():
            if label in point:
                self._checked(label, point[label], arguments, what)

    @cached_property
    def _options(self) -> dict[str, dict[str, Any]]:
        """Arguments of each distribution of indices that does not depend on other parameters."""
        distributions = {label: node.arg["obj"] for label, node in self._parameters.items()}
        return {
            label: _evaluated(distribution, {})
            for label, distribution in distributions.items()
            if distribution.name in _INDICES
            and not any(node.name == "hyperopt_param" for node in dfs(distribution))
        }

    def _used_values(
        self, point: Mapping[str, Any], what: str, *, ranges: bool = True
    ) -> dict[Any, Any]:
        """Return the values of the parameters that the point uses, by their node."""
        values: dict[Any, Any] = {}
        seen = set()

        def visit(node: Any) -> None:
            if node in seen or isinstance(node, Literal):
                return
            seen.add(node)
            if node.name == "switch":
                index = node.pos_args[0]
                visit(index)
                visit(node.pos_args[int(rec_eval(index, memo=values)) + 1])
            elif node.name == "hyperopt_param":
                label, distribution = node.arg["label"].obj, node.arg["obj"]
                visit(distribution)
                if label not in point:
                    raise UsageError(
                        f"{what} lacks {label!r}, which the options that it chooses use: give a "
                        "value."
                    )
                values[node] = point[label]
                if ranges or distribution.name in _INDICES:
                    arguments = _evaluated(distribution, values)
                    values[node] = self._checked(label, point[label], arguments, what)
            else:
                for part in node.inputs():
                    visit(part)

        visit(self._expression)
        return values

    def _checked(self, label: str, value: Any, arguments: Mapping[str, Any], what: str) -> Any:
        """Return the value as hyperopt takes it; raise `UsageError` if it is not possible."""
        number = finite_number(value)
        if number is None:
            raise UsageError(
                f"{what} gives {plain(value)!r:.40} for {label}, which is not a finite number: "
                "a choice is given by its index."
            )
        name = self._parameters[label].arg["obj"].name
        least, most = _bounds(name, arguments)
        index = name in _INDICES
        whole = index or (label in self._truncated and arguments.get("q", 0.5) % 1 == 0)
        tolerance = 0.0 if index else _ROUNDING
        within = least <= number <= most or any(
            math.isclose(number, bound, rel_tol=tolerance) for bound in (least, most)
        )
        if not within or (name == "lognormal" and number == 0):
            raise UsageError(
                f"{what} gives {plain(value)!r:.40} for {label}, {_range_text(name, least, most)}."
            )
        if whole and not number.is_integer():
            raise UsageError(
                f"{what} gives {plain(value)!r:.40} for {label}, which must be a whole number."
            )
        # hyperopt does not accept a float as the index of an option, not even a whole one.
        if isinstance(value, np.generic) and not (index and isinstance(value, np.floating)):
            return value
        return int(value) if index or isinstance(value, int) else float(value)  # of a subclass, too


def _evaluated(distribution: Any, values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a distribution's arguments by name, which may depend on other parameters."""
    return {
        name: rec_eval(part, memo=values)
        for name, part in distribution.arg.items()
        if part is not MissingArgument
    }


def _is_truncated(parameter: Any, nodes: Sequence[Any]) -> bool:
    """Return whether the space uses only the integral part of a parameter, as in `uniformint`."""
    users = [node for node in nodes if parameter in node.inputs()]
    return bool(users) and all(
        user.name == "int" or (user.name == "float" and _is_truncated(user, nodes))
        for user in users
    )


def finite_number(value: Any) -> float | None:
    """Return the value as a float if hyperopt can calculate with it, else None."""
    if isinstance(value, bool | np.longdouble) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _bounds(name: str, arguments: Mapping[str, Any]) -> tuple[float, float]:
    """Return the bounds of a distribution."""
    low, high = arguments.get("low"), arguments.get("high")
    if name == "randint":
        return (0, arguments["low"] - 1) if high is None else (arguments["low"], high - 1)
    if name == "categorical":
        return 0, np.shape(arguments["p"])[-1] - 1
    if low is None or high is None:
        return (0.0 if "lognormal" in name else -math.inf), math.inf
    ends = np.array([low, high])
    if "log" in name:
        with np.errstate(over="ignore"):
            ends = np.exp(ends)
    if q := arguments.get("q"):  # rounded to a multiple of q, a value may leave the range
        ends = np.concatenate([ends, np.round(ends / q) * q])
    return float(ends.min()), float(ends.max())


def _range_text(name: str, least: float, most: float) -> str:
    if name in _INDICES:
        return f"which must be an integer from {least} to {most}"
    if "lognormal" in name:
        return "which must be a positive number"
    return f"which must be between {least:.6g} and {most:.6g}"


def check_points(points: Any, space: Any) -> list[dict[str, list[Any]]]:
    """Return the completed points of `points_to_evaluate=`; raise `UsageError` for a wrong one."""
    if points is None:
        return []
    if not isinstance(points, Sequence) or not all(isinstance(point, Mapping) for point in points):
        raise UsageError(
            "points_to_evaluate must be a list of points such as [{'x': 0.5}], "
            f"got {points!r:.80}."
        )
    parameters = ParameterSpace(space)
    return [
        parameters.complete(point, f"points_to_evaluate[{index}]")
        for index, point in enumerate(points)
    ]


def point_document(tid: int, values: Mapping[str, list[Any]]) -> TrialDocument:
    """Return a trial document of a point that `check_points` has completed."""
    document: TrialDocument = generate_trial(tid, {})
    document["misc"]["vals"] = {label: list(given) for label, given in values.items()}
    document["misc"]["idxs"] = {label: [tid for _ in given] for label, given in values.items()}
    return document


def check_documents(
    documents: Iterable[TrialDocument],
    space: Any,
    *,
    suggested: Callable[[Any], bool],
    search: str,
    learns: bool,
) -> None:
    """Raise `UsageError` if trials cannot run, or if the algorithm cannot learn from them.

    Unfinished trials that were not suggested are checked like `points_to_evaluate`. Unfinished
    trials recorded as suggested, which anybody with write access to the search can claim, must be
    ones that hyperopt can evaluate. Ended trials are refused only for what TPE cannot count: an
    index without an option and, if the algorithm `learns`, an id that is not a number.
    """
    parameters = ParameterSpace(space)
    for document in documents:
        tid = document["tid"]
        how = "was suggested" if suggested(tid) else "was inserted or imported"
        what = f"Trial {tid!r:.40} of search {search!r}, which {how},"
        if learns and isinstance(tid, str):
            raise UsageError(
                f"{what} has no number, so the algorithm cannot learn from it: pass algo='rand'. "
                f"{BEGIN_AGAIN}"
            )
        point = point_of(document)
        if document["state"] not in (JOB_STATE_NEW, JOB_STATE_RUNNING):
            parameters.check_indices(point, what)
        elif suggested(tid):
            parameters.check_runnable(point, what)
        else:
            try:
                parameters.complete(point, what)
            except UsageError as error:
                raise UsageError(
                    f"{error} The search cannot run with it: correct it in a search of another "
                    f"name. {BEGIN_AGAIN}"
                ) from None


def complete_imported(documents: list[TrialDocument], source: str) -> None:
    """Complete the trials of a pickle as far as possible without the space.

    Each trial gets the parameters that any of them names. Raises `UsageError` if an unfinished
    trial has a value that no parameter can have.
    """
    for document in documents:
        if document["state"] not in (JOB_STATE_NEW, JOB_STATE_RUNNING):
            continue
        for label, given in document["misc"]["vals"].items():
            if len(given) > 1 or any(finite_number(value) is None for value in given):
                raise UsageError(
                    f"Trial {document['tid']} of {source} is still to be run, and gives "
                    f"{given!r:.40} for {label!r:.40}, which is not a list of one finite number."
                )
    name_all_parameters(documents, {label for doc in documents for label in doc["misc"]["vals"]})
