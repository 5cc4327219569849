"""Calling a compiled model: the user's own function, with values in place of templates."""
# ruff: noqa: F821, RET504, C408, E731, PLW0603, PT012, PT017 - model functions as people type them

import functools
import linecache
import sys
import traceback
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import hyperopt
import pytest
from hyperopt import fmin, rand, space_eval
from hyperopt.pyll import as_apply
from hyperopt.pyll.stochastic import sample

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.templates.compiled_model import compile_model
from colab_drive_tuner.templates.data_arguments import returned_names
from tests.templates import models


def test_values_replace_templates():
    """Loops, comprehensions, lambdas, conditions and defaults get the sampled values."""
    compiled = compile_model(models.expressions)
    assert len(tuple(compiled.space)) == 7
    values = dict(zip(tuple(compiled.space), [1, 1, 1, 1, 10, 1, 1], strict=True))
    result = compiled.call(values, (5,))
    assert result["nested"] == [10, 11, 12]
    assert result["units"] == 3
    assert compiled.call(sample(dict(compiled.space)), {"x": 5})["status"] == "ok"


def test_signature_with_defaults_and_keywords():
    """A signature with defaults and keyword-only parameters stays as it is."""
    compiled = compile_model(models.several_lines)
    assert compiled.call({"Dense": 20}, (0, 0)) == {"loss": 1, "units": 20, "status": "ok"}
    assert list(compiled.signature.parameters) == ["x_train", "y_train", "x_test", "verbose"]


def test_decorators_wrap_the_compiled_model():
    """Decorators, with or without functools.wraps, wrap each call; the originals are unchanged."""
    result = compile_model(models.decorated).call({"rate": 0.5}, (1,))
    assert result == {"loss": 15, "status": "ok", "seconds": 3}
    assert compile_model(models.counted).call({"rate": 0.5}, (1,))["loss"] == 1.5
    assert models.counted.calls == 0
    result = compile_model(models.marked).call({"rate": 0.5}, (1,))
    assert result == {"loss": 1.5, "status": "ok", "marked": True}
    with pytest.raises(TypeError):
        models.decorated(1)


def test_partial_and_methods():
    """A method keeps self, super() and private names; a partial keeps its arguments."""
    assert compile_model(models.Study().model).call({"units": 100}, (1,))["loss"] == 113
    partial = functools.partial(models.assigned, x=1)
    values = dict.fromkeys(tuple(compile_model(partial).space), 2)
    assert compile_model(partial).call(values)["loss"] == 6


def test_closures_stay_live():
    """Cells of a closure are the user's own: the space reads them, and the call changes them."""
    model, bonus = models.closure_model(3)
    compiled = compile_model(model)
    assert "Literal{30}" in str(as_apply(compiled.space["n"]))
    assert compiled.call({"n": 3}, (0,))["loss"] == 5
    assert bonus() == 2


def test_globals_stay_live(monkeypatch):
    """If the user redefines a helper, the compiled model calls the new one."""
    compiled = compile_model(calls_helper)
    monkeypatch.setitem(globals(), "helper", lambda n: -n)
    monkeypatch.setitem(globals(), "calls", 0)
    assert compiled.call({"n": 4}) == -4
    assert compiled.call({"n": 4}) == -4
    assert calls == 2


def helper(n):
    return n


calls = 0


def calls_helper():
    global calls
    calls += 1
    n = {{choice([3, 4])}}
    return helper(n)


def test_lambda_model():
    """A model may be a lambda on a line of its own, with lambdas among its defaults."""
    model = lambda x, f=lambda: 4, *, g=lambda: 5: dict(lr={{uniform(0, 1)}}, loss=(x, f(), g()))
    assert compile_model(model).call({"lr": 1}, (2,)) == {"lr": 1, "loss": (2, 4, 5)}


def test_objects_in_choices_are_new_in_every_call():
    """An object among the options is created again for each call."""
    compiled = compile_model(models.stacked)
    values = space_eval(
        dict(compiled.space),
        {**dict.fromkeys(tuple(compiled.space), 0), "Dropout_2": 1, "add": 0},
    )
    first, second = (compiled.call(values, (1, 2))["model"].layers[5] for _ in range(2))
    assert isinstance(first, models.Dropout)
    assert first.args == (0.5,)
    assert first is not second
    assert first is not values["add"]


def test_fmin_searches_a_compiled_model():
    """Hyperopt itself searches the space through `call`."""
    compiled = compile_model(models.assigned)
    best = fmin(
        lambda values: compiled.call(values, (1,)),
        dict(compiled.space),
        algo=rand.suggest,
        max_evals=5,
        show_progressbar=False,
        verbose=False,
    )
    assert set(best) == {"size", "rate", "rate_1", "typed"}


HERE = [1]


def failing(x):
    rate = {{uniform(0, 1)}}
    if x:
        warnings.warn("too high", UserWarning, stacklevel=1)
    return HERE[{{choice([5, 6])}}] + rate  # here it fails


def test_tracebacks_show_the_line():
    """File, line, text and the carets under the template are the user's own."""
    compiled = compile_model(failing)
    try:
        compiled.call({"rate": 0, "rate_1": 5}, (0,))
    except IndexError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        shown = "".join(traceback.format_exception(error))
    assert (last.filename, last.name) == (__file__, "failing")
    assert "return HERE[{{choice([5, 6])}}] + rate  # here it fails" in shown
    assert shown.splitlines()[-2].strip() == "~~~~" + "^" * len("[{{choice([5, 6])}}]")


def test_inner_functions_keep_their_qualified_names():
    """IPython shows the qualified names that the user's source gives."""
    assert compile_model(qualified).call({"n": 1}) == "qualified.<locals>.inner"


def qualified():
    n = {{choice([1, 2])}}

    def inner():
        return n

    return inner.__qualname__


def test_warnings_show_the_line():
    """A warning is attributed to the user's own line."""
    compiled = compile_model(failing)
    with warnings.catch_warnings(record=True) as caught, pytest.raises(IndexError):
        warnings.simplefilter("always")
        compiled.call({"rate": 0, "rate_1": 5}, (1,))
    assert [warning.filename for warning in caught] == [__file__]
    assert "warnings.warn" in linecache.getline(__file__, caught[0].lineno)


def test_status_ok_needs_no_import():
    """STATUS_OK works without an import, as in hyperas's generated module."""
    assert "STATUS_OK" not in globals()
    assert compile_model(relies_on_hyperas).call({"n": 1})["status"] == "ok"


def relies_on_hyperas():
    n = {{choice([1, 2])}}
    return {"loss": n, "status": STATUS_OK}


def test_templates_in_a_notebook_cell(tmp_path):
    """Templates work in IPython cells with magics; a traceback shows the cell's own line."""
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    shell = interactive.InteractiveShell.instance()
    try:
        shell.run_cell("%config Application.log_level='ERROR'\nN = 3\n", store_history=True)
        shell.run_cell(
            "import math\n!true\n\ndef model(x):\n"
            "    n = {{choice([N, 2*N])}}\n    return [math.floor(n)][x]\n",
            store_history=True,
        )
        compiled = compile_model(shell.user_ns["model"])
        assert compiled.call({"n": 6}, (0,)) == 6
        try:
            compiled.call({"n": 6}, (3,))
        except IndexError as error:
            assert "return [math.floor(n)][x]" in "".join(traceback.format_exception(error))
        shell.run_cell("%%time\ndef timed():\n    n = {{choice([1])}}\n    return n\n")
        with pytest.raises(TemplateError, match="%%time"):
            compile_model(shell.user_ns["timed"])
    finally:
        interactive.InteractiveShell.clear_instance()


def two():
    a, b = 1, 2
    return a, b


def swapped():
    b, a = 2, 1
    return b, a


def takes_two(a, b=5):
    n = {{choice([1, 2])}}
    return a, b, n


def takes_two_by_name(*, a, b):
    n = {{choice([1, 2])}}
    return a, b, n


@pytest.mark.parametrize(
    ("result", "arguments"),
    [((1, 2), (1, 2)), ([1, 2], (1, 2)), ((1,), (1,)), ({"a": 1}, {"a": 1}), (7, (7,))],
)
def test_data_becomes_arguments(result, arguments):
    """Tuples and lists are passed by position, a dict by name, another value as one argument."""
    assert compile_model(takes_two).bind(result) == arguments


def takes_one_by_name(a, *, b):
    n = {{choice([1, 2])}}
    return a, b, n


@pytest.mark.parametrize("model", [takes_two_by_name, takes_one_by_name])
def test_keyword_only_parameters_are_assigned_in_order(model):
    """A tuple fits a model whose parameters cannot all be passed by position."""
    compiled = compile_model(model)
    assert compiled.call({"n": 0}, compiled.bind((1, 2))) == (1, 2, 0)


def with_nested_functions():
    def half(value):
        return value / 2

    class Scaled:
        def of(self, value):
            return value, self

    b, a = half(4), Scaled().of(1)[0]
    return b, a


def takes_two_by_position(a, b, /, verbose=0):
    n = {{choice([1, 2])}}
    return a, b, n + verbose


def takes_two_and_an_option(a, b, verbose=0):
    n = {{choice([1, 2])}}
    return a, b, n + verbose


def test_names_decide_where_the_order_differs():
    """`return b, a` is assigned by name to `model(a, b)`, as in hyperas."""
    for model in takes_two, takes_two_by_name, takes_two_by_position, takes_two_and_an_option:
        compiled = compile_model(model, swapped)
        assert compiled.call({"n": 0}, compiled.bind(swapped())) == (1, 2, 0)
    assert returned_names(two) == ("a", "b")
    assert returned_names(with_nested_functions) == ("b", "a")
    assert returned_names(helper) is None


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((1, 2, 3), r"3 values, but takes_two\(\) takes a, b: return"),
        (None, r"takes_two\(\) takes a, b, but there is no data"),
        ({"b": 1}, r"returned b, which does not fit takes_two\(a, b=5\)"),
        ({"a": 1, "c": 2}, r"returned a, c, which does not fit"),
    ],
)
def test_data_that_does_not_fit(result, message):
    """The error about data that does not fit says what data() returned and the model takes."""
    with pytest.raises(ObjectiveError, match=message):
        compile_model(takes_two).bind(result)


def test_data_of_one_dict():
    """A model with one parameter gets a dict that lacks its name as a whole."""
    compiled = compile_model(calls_with_one)
    assert compiled.bind({"x": 1, "y": 2}) == ({"x": 1, "y": 2},)
    assert compiled.bind({"data": 1}) == {"data": 1}
    assert compiled.bind([1, 2]) == ([1, 2],)


def calls_with_one(data):
    n = {{choice([1, 2])}}
    return data, n


def data_with_locals():
    nb_classes = 10
    x = list(range(nb_classes))
    return x


def uses_data_locals(x):
    n = {{choice([1, 2])}}
    return [nb_classes for _ in x], n


def test_names_of_data_are_refused_before_anything_runs():
    """A model that reads a local variable of data() is refused with its name and line."""
    line = uses_data_locals.__code__.co_firstlineno + 2
    with pytest.raises(ObjectiveError, match=f"'nb_classes' in line {line} of test_call.py"):
        compile_model(uses_data_locals, data_with_locals)
    assert tuple(compile_model(uses_data_locals).space) == ("n",)


def balanced_data():
    weights = {0: 1.0, 1: 2.5}
    return [1, 2, 3], weights, types.SimpleNamespace(units=[4, 8])


def reads_parameters(x, balanced, settings=None):
    weights = {{choice([None, balanced])}}
    units = {{choice([*settings.units, len(x)])}}
    return {"weights": weights, "units": units}


def reads_what_it_assigns(x):
    x = [x]
    return {{choice(x)}}


def test_templates_may_read_the_models_parameters():
    """Options may depend on what data() returns, as in hyperas; only then is data() needed."""
    asked = []

    def load():
        asked.append("data")
        return balanced_data()

    compiled = compile_model(reads_parameters, balanced_data, load)
    assert asked == ["data"]
    x, weights, _ = balanced_data()
    assert hyperopt.space_eval(dict(compiled.space), {"weights": 1, "units": 2}) == {
        "weights": weights,
        "units": len(x),
    }
    result = compiled.call({"weights": weights, "units": 8}, balanced_data())
    assert result == {"weights": weights, "units": 8}
    with pytest.raises(TemplateError, match="'x', which exists only while"):
        compile_model(reads_what_it_assigns, {"x": 1}, lambda: {"x": 1})
    with pytest.raises(TemplateError, match="no data function gives a value"):
        compile_model(reads_parameters)
    compile_model(models.expressions, balanced_data, load)
    assert len(asked) == 1, "nobody is asked where no template reads a parameter"


def test_models_are_compiled_in_threads_at_once():
    """Compiling in parallel leaves standard output and the warnings' filters unchanged."""
    out, filters = sys.stdout, list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(compile_model, [models.expressions] * 60))
    assert {tuple(compiled.space) for compiled in made} == {
        tuple(compile_model(models.expressions).space)
    }
    assert sys.stdout is out
    assert warnings.filters == filters


def test_the_source_of_a_compiled_model_has_the_templates():
    """The source of a compiled model is the function's text with its templates as written."""
    compiled = compile_model(models.expressions)
    assert compiled.source.startswith("def expressions(x):\n    units = {{choice(")
    assert "{ choice" not in compiled.source
    assert "rate = lambda" in compiled.source


def test_comments_and_layout_do_not_change_the_source():
    """The source of a compiled model does not depend on its comments and layout."""

    def plain(x):
        units = {{choice([1, 2])}}
        return {"loss": units + x, "status": "ok"}

    expected = compile_model(plain).source

    # fmt: off
    def plain(x):  # the same model
        units = {{ choice([1,2]) }}

        return {
            "loss": units+x,  # is minimized
            'status': "ok",
        }
    # fmt: on

    assert compile_model(plain).source == expected


def test_debuggers_see_the_users_file_and_line():
    """A trace function sees the user's file and line in the compiled model."""
    seen = []

    def tracer(frame, event, arg):
        if frame.f_code.co_name == "calls_helper":
            seen.append((frame.f_code.co_filename, frame.f_lineno))
        return tracer

    compiled = compile_model(calls_helper)
    old = sys.gettrace()
    sys.settrace(tracer)
    try:
        compiled.call({"n": 3})
    finally:
        sys.settrace(old)
    first = calls_helper.__code__.co_firstlineno
    assert [(__file__, first + line) for line in (2, 3)] == seen[1:3]
