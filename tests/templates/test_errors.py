"""Invalid templates are refused before anything runs, with the line number."""
# ruff: noqa: F541, F821, RET504, C408 - model functions as people type them

import functools

import pytest

from colab_drive_tuner.errors import TemplateError, UsageError
from colab_drive_tuner.templates.compiled_model import compile_model


def unknown():
    n = {{gaussian(0, 1)}}
    return n


def unknown_attribute():
    n = {{np.random.uniform(0, 1)}}
    return n


def no_call():
    n = {{uniform}}
    return n


def two_in_one():
    n = {{uniform(0, 1) + uniform(0, 1)}}
    return n


def two_elements():
    n = {{choice([1, 2]), 3}}
    return n


def nested():
    n = {{choice([{{uniform(0, 1)}}, 2])}}
    return n


def in_f_string():
    return f"{{choice([1, 2])}} layers"


def in_f_string_expression():
    return f"{ {{choice([1, 2])}} } layers"


def without_name():
    return [{{choice([1, 2])}}]


def local_variable():
    sizes = [1, 2]
    n = {{choice(sizes)}}
    return n


def parameter(x):
    n = {{choice([len(x), 2])}}
    return n


def loop_variable():
    return [dict(n={{choice([i, 2])}}) for i in range(3)]


def undefined():
    n = {{choice([nowhere, 2])}}
    return n


def bad_arguments():
    n = {{uniform(3)}}
    return n


def no_options():
    n = {{choice([])}}
    return n


def converted():
    n = {{int(quniform(1, 10, 1))}}
    return n


def without_steps():
    n = {{quniform(1, 9, 0)}}
    return n


def fraction():
    n = {{choice([1, hp.randint("m", 2.5)])}}
    return n


def options_as_arguments():
    n = {{choice(1, 2, 3)}}
    return n


def rounded():
    n = {{round(uniform(0, 1), ndigits=2)}}
    return n


@pytest.mark.parametrize(
    ("model", "line", "message"),
    [
        (unknown, 1, "it calls gaussian"),
        (unknown_attribute, 1, "it calls np.random.uniform"),
        (no_call, 1, "it calls nothing"),
        (two_in_one, 1, "it calls uniform, uniform"),
        (two_elements, 1, "must contain one"),
        (nested, 1, "template within a template"),
        (in_f_string, 1, "f-string"),
        (in_f_string_expression, 1, "f-string"),
        (without_name, 1, "has no name"),
        (local_variable, 2, "'sizes', which exists only while"),
        (parameter, 1, "reads 'x', a parameter of parameter() that no data function"),
        (loop_variable, 1, "'i', which exists only while"),
        (undefined, 1, "NameError: name 'nowhere'"),
        (bad_arguments, 1, "cannot be evaluated: "),
        (no_options, 1, "choice takes one list of options, at least one"),
        (without_steps, 1, "draws nan"),
        (fraction, 1, "randint takes integers, not 2.5"),
        (options_as_arguments, 1, "choice takes one list of options"),
        (converted, 1, "convert it outside of them, int({{quniform(1, 10, 1)}})."),
        (rounded, 1, "convert it outside of them, round({{uniform(0, 1)}}, ndigits=2)."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_templates(model, line, message):
    """An invalid template raises a usage error that names its line and what is wrong."""
    with pytest.raises(TemplateError) as caught:
        compile_model(model)
    assert message in str(caught.value)
    assert f"line {model.__code__.co_firstlineno + line} of test_errors.py" in str(caught.value)
    assert isinstance(caught.value, UsageError)


def without_templates(x):
    return {"loss": x}


@functools.singledispatch
def dispatched(x):
    n = {{choice([1, 2])}}
    return n


@functools.lru_cache
def cached():
    n = {{choice([1, 2])}}
    return n


def test_models_without_templates_or_source():
    """No template, no source, no function and an unknown wrapper each have their own message."""
    with pytest.raises(TemplateError, match="contains no template"):
        compile_model(without_templates)
    namespace = {}
    exec("def made(): return {{uniform(0, 1)}}", namespace)
    with pytest.raises(TemplateError, match=r"source of made\(\) cannot be read"):
        compile_model(namespace["made"])
    with pytest.raises(TemplateError, match="must be a function, not int"):
        compile_model(3)
    with pytest.raises(TemplateError, match="wrapped in a _lru_cache_wrapper"):
        compile_model(cached)
    with pytest.raises(TemplateError, match="wrapped in a function, which cannot be copied"):
        compile_model(dispatched)


def test_a_file_that_changed_since(tmp_path, monkeypatch):
    """If a file no longer contains the running function, its source is refused."""
    path = tmp_path / "changing_model.py"
    path.write_text("def model(x):\n    n = {{choice([1, 2])}}\n    return n\n")
    monkeypatch.syspath_prepend(tmp_path)
    import changing_model

    assert tuple(compile_model(changing_model.model).space) == ("n",)
    path.write_text("import math\n\ndef model(y):\n    n = {{choice([1])}}\n    return n\n")
    with pytest.raises(TemplateError, match="no longer contains model"):
        compile_model(changing_model.model)


def test_a_changed_file_with_a_nonlocal_name(tmp_path, monkeypatch):
    """Such a function cannot be compiled by itself, as autoreload does; that is no SyntaxError."""
    path = tmp_path / "counting_model.py"
    function = (
        "def model():\n        nonlocal n\n        n += 1\n        return n\n    return model\n"
    )
    path.write_text(f"def make():\n    n = 0\n    {function}")
    monkeypatch.syspath_prepend(tmp_path)
    import counting_model

    model = counting_model.make()
    path.write_text(f"def make():\n    # changed\n    n = 0\n    {function}")
    with pytest.raises(TemplateError, match="no longer contains model"):
        compile_model(model)
