"""The spaces compiled from templates equal those of hyperas, label by label."""
# ruff: noqa: C408, F821, RET504 - models as people type them

import inspect
import sys
import textwrap
from types import ModuleType

import pytest
from hyperopt import hp
from hyperopt.pyll import as_apply

from colab_drive_tuner import resume_search
from colab_drive_tuner.errors import TemplateError, UsageError
from colab_drive_tuner.templates.compiled_model import compile_model
from colab_drive_tuner.templates.function_source import suppress_warnings
from colab_drive_tuner.templates.parser import DISTRIBUTIONS
from tests.templates import models


@pytest.fixture(scope="module")
def hyperas():
    """Load hyperas's own functions without its ensemble, which Keras 3 cannot import."""
    pytest.importorskip("hyperas")
    before, path = set(sys.modules), list(sys.path)
    ensemble = ModuleType("hyperas.ensemble")
    ensemble.VotingModel = object
    sys.modules["hyperas.ensemble"] = ensemble
    from hyperas import optim

    yield optim
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("hyperas"):
            parent, _, child = name.rpartition(".")
            del sys.modules[name]
            vars(sys.modules.get(parent, ensemble)).pop(child, None)


@suppress_warnings()  # hyperas's code warns on a current Python
def space_by_hyperas(optim, model):
    text = optim.remove_imports(textwrap.dedent(inspect.getsource(model)))
    parts = optim.hyperparameter_names(text)
    code = optim.get_hyperopt_space(parts, optim.get_hyperparameters(text), verbose=False)
    namespace = {**vars(models), "hp": hp}
    exec(code, namespace)
    return namespace["get_space"]()


@pytest.mark.parametrize("model", models.SAME_AS_HYPERAS, ids=lambda model: model.__name__)
def test_space_equals_hyperas(hyperas, model):
    """Labels, their order and every expression are what hyperas makes of the same function."""
    ours, theirs = compile_model(model).space, space_by_hyperas(hyperas, model)
    assert list(ours) == list(theirs)
    assert str(as_apply(dict(ours))) == str(as_apply(theirs))


def test_names_follow_the_rule():
    """A name is the word before `=` or `(`, or the previous name; equal text shares its name."""
    assert tuple(compile_model(models.stacked).space) == (
        "Dropout",
        "Dense",
        "Activation",
        "Dropout_1",
        "Dropout_2",
        "add",
        "optimizer",
        "batch_size",
    )
    assert tuple(compile_model(models.assigned).space) == ("size", "rate", "rate_1", "typed")


def test_conversions_and_annotations_are_no_names(hyperas):
    """A parameter in `int(...)` has the name of the target; hyperas's own name is known, too."""

    def model(x):
        n_estimators: int = int({{quniform(5, 40, 1)}})
        depth = float(round({{quniform(1, 9, 1)}}))
        forest(leaves=int({{quniform(2, 8, 1)}}), rate=float({{uniform(0, 1)}}))
        self.width: int = {{randint(8)}}
        sizes["height"]: int = {{randint(9)}}
        sizes["length"] = int({{quniform(1, 7, 1)}})
        forest({"bins": int({{quniform(3, 5, 1)}}), "a b": 1})
        layer(int({{quniform(16, 64, 16)}}))
        return {"loss": max(n_estimators, depth, int({{quniform(0, 5, 1)}}))}

    labels = (
        *("n_estimators", "depth", "leaves", "rate", "width", "height", "length", "bins"),
        *("int", "int_1"),
    )
    compiled = compile_model(model)
    assert tuple(compiled.space) == labels
    theirs = list(space_by_hyperas(hyperas, model))
    assert theirs[:3] == ["int", "round", "int_1"]
    assert compiled.hyperas_names == dict(zip(labels, theirs, strict=True))


def test_conversions_of_equal_text_have_names_of_their_own(hyperas):
    """Equal conversions have the names of their targets, although hyperas would number them."""

    def model(x):
        forest(n_estimators=int({{quniform(5, 40, 1)}}), max_depth=int({{quniform(5, 40, 1)}}))
        rate = float({{uniform(0, 1)}})
        noise = {{uniform(0, 1)}}
        return {"loss": rate * noise}

    labels = ("n_estimators", "max_depth", "rate", "noise")
    compiled = compile_model(model)
    assert tuple(compiled.space) == labels
    assert compiled.hyperas_names == dict(
        zip(labels, space_by_hyperas(hyperas, model), strict=True)
    )


def test_uniformint_and_the_prefix_hp_are_supported():
    """`uniformint` works, and a distribution may be written `hp.choice`."""

    def model():
        return {"loss": {{uniformint(1, 3)}}, "n": {{hp.choice([1, 2])}}}

    with pytest.raises(TemplateError, match="has no name"):
        compile_model(model)

    def named():
        n = {{uniformint(1, 3)}}
        m = {{hp.choice([1, 2])}}
        return n, m

    space = compile_model(named).space
    assert str(as_apply(space)) == str(
        as_apply({"n": hp.uniformint("n", 1, 3), "m": hp.choice("m", [1, 2])})
    )
    assert all(callable(getattr(hp, name)) for name in DISTRIBUTIONS)


def test_comments_docstrings_and_strings_hold_no_templates():
    """Text that only looks like a template is left unchanged and gives no name."""

    def model():
        """Set rate = {{uniform(0, 1)}} here."""
        # lr = {{uniform(0, 1)}}
        text = "units = {{choice([1, 2])}}"
        rate = {{uniform(0, 1)}}
        return text, rate, f"{{rate}} {rate}"

    compiled = compile_model(model)
    assert tuple(compiled.space) == ("rate",)
    assert compiled.call({"rate": 2}) == ("units = {{choice([1, 2])}}", 2, "{rate} 2")


def test_a_numbered_name_does_not_collide_with_a_written_one():
    """The second `x` and a written `x_1` stay two hyperparameters."""

    def model():
        x = {{uniform(0, 1)}}
        x = {{uniform(0, 2)}}
        x_1 = {{uniform(0, 3)}}
        return x, x_1

    def other_way():
        x = {{uniform(0, 1)}}
        x_1 = {{uniform(0, 3)}}
        x = {{uniform(0, 2)}}
        return x, x_1

    assert tuple(compile_model(model).space) == ("x", "x_1", "x_1_1")
    assert tuple(compile_model(other_way).space) == ("x", "x_1", "x_2")


def test_order_is_that_of_the_text():
    """Parameters are in the order of the text, not of Python's evaluation."""

    def model():
        return dict(
            first={{uniform(0, 1)}} if dict(second={{choice([0, 1])}})["second"] else 0,
            third={{"a": dict(fourth={{uniform(0, 2)}})}["a"]["fourth"]: dict(k={{normal(0, 1)}})},
        )

    labels = tuple(compile_model(model).space)
    assert labels == ("first", "second", "fourth", "k")


def test_names_after_wide_characters_are_found():
    """Umlauts and emoji before a template do not shift its name."""

    def model():
        return ["äöü 🎉", dict(ñ={{uniform(0, 1)}}, é={{choice([1, 2])}})]

    assert tuple(compile_model(model).space) == ("ñ", "é")


def test_two_hyperparameters_of_one_name_are_refused(tmp_path):
    """A nested expression may not have the name of another hyperparameter."""

    def model():
        rate = {{uniform(0, 1)}}
        more = {{choice([0, hp.uniform("rate", 0, 1)])}}
        return rate * more

    with pytest.raises(UsageError, match="'rate'"):
        resume_search(model, name="s", max_evals=1, store=tmp_path)
    assert not list(tmp_path.iterdir())


def test_dicts_lambdas_and_nested_calls_as_options():
    """Options may be dicts, lambdas and hyperopt's own nested expressions."""

    def model(x):
        settings = {{choice([{"units": 1, "act": {"f": lambda v: v + OFFSET}}, {"units": 2}])}}
        maybe = {{choice([0, hp.uniform("inner", 5, 6)])}}
        return settings, maybe

    from hyperopt import space_eval

    compiled = compile_model(model)
    values = space_eval(dict(compiled.space), {"settings": 0, "maybe": 1, "inner": 5.5})
    settings, maybe = compiled.call(values, (1,))
    assert (settings["units"], maybe) == (1, 5.5)
    assert settings["act"]["f"](1) == 1 + OFFSET


OFFSET = 41


def test_a_bound_may_depend_on_another_hyperparameter():
    """A `randint` from 0 to a bound that is an expression has values to choose."""

    def model():
        count = {{randint(0, 2 + hp.randint("more", 3))}}
        return count

    assert "count" in compile_model(model).space


def test_imports_inside_the_function_serve_its_templates():
    """A module imported in the function can be used in a template, as in hyperas."""

    def model():
        import math as m
        from fractions import Fraction

        a = {{choice([m.pi, Fraction(1, 2)])}}
        return a

    assert "3.14159" in str(as_apply(compile_model(model).space))
