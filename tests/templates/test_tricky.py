"""Model functions that textual rewriting would break; the syntax tree handles them."""
# ruff: noqa: B006, B008, C408, C416, E701, E702, F821, F841, PIE800, RET504, RUF012, RUF021

import contextlib

import pytest
from hyperopt import hp, space_eval

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.compiled_model import compile_model
from colab_drive_tuner.templates.data_arguments import bind_data

# fmt: off


def star_arguments(*data, scale=2, **options):
    n = {{choice([1, 2])}}
    return n * scale * len(data), options


def by_position(a, /, b, *, c=3):
    n = {{choice([1, 2])}}
    return a + b + c + n


def walrus(x):
    k = {{choice([1, 2])}}
    if (n := {{choice([3, 4])}}) > 3:
        return k + n
    return [m := {{choice([5, 6])}}, m]


def matching(x):
    kind = {{choice(["a", ["b", 1, 2], {"k": 3, "z": 4}])}}
    match kind:
        case "a": found = 1
        case ["b", *rest]: found = rest
        case {"k": v, **more} if v == {{choice([3, 5])}}: found = more
        case _: found = None
    return found


def nested_functions(x):
    def block(units={{choice([8, 16])}}, *, rate={{choice([0.1, 0.2])}}):
        def inner():
            return {{choice(["relu", "tanh"])}}
        return units, rate, inner()
    return block()


def class_body(x):
    class Config:
        units = {{choice([8, 16])}}
        rates = [{{choice([1, 2])}} for _ in range(2)]

        def activation(self):
            return {{choice(["relu", "tanh"])}}
    return Config.units, Config.rates, Config().activation()


def conditional_expressions(x):
    a = {{choice([1, 2])}} if x else {{choice([3, 4])}}
    b = x and {{choice([5, 6])}} or 0
    return a, b


def comprehension_scopes(x):
    a = dict(n={{choice([1, 2])}})
    b = [{{choice([3, 4])}} for i in range(2) if i < {{choice([1, 2])}}]
    c = {k: {{choice([7, 8])}} for k in "ab"}
    return a, b, c, sum({{choice([9, 10])}} for _ in range(2))


def lambdas_as_options(x):
    act = {{choice([lambda v, k=2: v * k, lambda v: [w for w in range(v)], {"f": lambda v: -v}])}}
    return act(3)


def nested_choices(x):
    arch = {{choice([
        {"kind": "cnn", "filters": hp.choice("filters", [8, {"deep": hp.choice("deep", [1, 2])}])},
        {"kind": "mlp", "layers": [hp.choice("first", [3, 4]), 5]},
    ])}}
    return arch


def blocks(x):
    try:
        a = {{choice([1, 2])}}
        raise ValueError
    except ValueError as error:
        b = {{choice([3, 4])}}
    finally:
        c = {{choice([5, 6])}}
    with contextlib.suppress(Exception):
        d = {{choice([7, 8])}}
    return a, b, c, d


def one_line(x): n = {{choice([1, 2])}}; m = {{choice([1, 2])}}; del x; return n, m


def blanks_and_comments(x):
    n = { {choice([1, 2])} }
    m = {{  choice(
        [3,
         4]   # not the end: }}
    )  }}
    return n, m


def arithmetic(x):
    n = {{choice([1, 2])}} ** 2
    n += {{choice([3, 4])}}
    return n, str({{choice([5, 6])}}) + f"{n}", {**{"u": {{choice([7, 8])}}}}


def sets_of_templates(x):
    n = {{choice([1, 2])}}
    return { {{choice([1, 2])}} } | { {{choice([3, 4])}}, {{choice([5, 6])}} }


def is_recursive(x):
    n = {{choice([1, 2])}}
    return n + (is_recursive(x - 1) if x > 5 else 0)


def conditional_imports(x):
    if x is None:
        import nowhere_either  # noqa: F401 - no template needs it, so it is not tried before
    try:
        import nowhere_to_be_found as numbers
    except ImportError:
        import math as numbers
    n = {{choice([numbers.floor(1.5), numbers.pi])}}
    return n


def a_helper(x):
    return 100 + x


class Named:
    def a_helper(self, x):
        n = {{choice([1, 2])}}
        return a_helper(n)  # the function, not this method
# fmt: on


@pytest.mark.parametrize(
    ("model", "labels", "indices", "result"),
    [
        (star_arguments, "n", [1], (4, {})),
        (walrus, "k k_1 k_2", [0, 0, 1], [6, 6]),
        (walrus, "k k_1 k_2", [0, 1, 1], 5),
        (matching, "kind kind_1", [1, 0], [1, 2]),
        (matching, "kind kind_1", [2, 0], {"z": 4}),
        (matching, "kind kind_1", [2, 1], None),
        (nested_functions, "units rate rate_1", [1, 0, 1], (16, 0.1, "tanh")),
        (class_body, "units units_1 units_2", [1, 1, 0], (16, [2, 2], "relu")),
        (conditional_expressions, "a a_1 a_2", [0, 1, 1], (1, 6)),
        (comprehension_scopes, "n n_1 n_2 n_3 sum", [0, 1, 1, 0, 1],
         ({"n": 1}, [4, 4], {"a": 7, "b": 7}, 20)),
        (lambdas_as_options, "act", [0], 6),
        (lambdas_as_options, "act", [1], [0, 1, 2]),
        (blocks, "a b c d", [0, 1, 0, 1], (1, 4, 5, 8)),
        (one_line, "n n_1", [0, 1], (1, 2)),
        (blanks_and_comments, "n m", [1, 0], (2, 3)),
        (sets_of_templates, "n n_1 n_2 n_3", [0, 1, 1, 0], {2, 4, 5}),
        (is_recursive, "n", [1], 6),
        (conditional_imports, "n", [0], 1),
        (Named().a_helper, "n", [1], 102),
        (arithmetic, "n n_1 str str_1", [1, 0, 1, 0], (7, "67", {"u": 7})),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_values_reach_every_place(model, labels, indices, result):
    """Each template has its label by hyperas's rule, and its value in its place."""
    compiled = compile_model(model)
    assert " ".join(tuple(compiled.space)) == labels
    values = space_eval(
        dict(compiled.space), dict(zip(tuple(compiled.space), indices, strict=True))
    )
    assert compiled.call(values, (7,)) == result


def test_choices_within_choices():
    """Hyperopt's own expressions in dicts and lists are searched, and arrive as chosen."""
    compiled = compile_model(nested_choices)
    point = {"arch": 0, "filters": 1, "deep": 0}
    values = space_eval(dict(compiled.space), point)
    assert compiled.call(values, (0,)) == {"kind": "cnn", "filters": {"deep": 1}}
    values = space_eval(dict(compiled.space), {"arch": 1, "first": 1})
    assert list(compiled.call(values, (0,))["layers"]) == [4, 5]


def test_data_reaches_every_signature():
    """Star arguments take any number of values; positional-only parameters are not named."""
    compiled = compile_model(star_arguments)
    assert compiled.call({"n": 1}, compiled.bind((1, 2, 3))) == (6, {})
    assert compiled.call({"n": 1}, compiled.bind({"extra": 5})) == (0, {"extra": 5})
    assert compiled.call({"n": 1}, compiled.bind(None)) == (0, {})
    assert compiled.call({"n": 1}, compiled.bind("text")) == (2, {})
    compiled = compile_model(by_position)
    arguments = bind_data("by_position", compiled.signature, (1, 2), returned=("b", "a", "c"))
    assert compiled.call({"n": 1}, arguments) == 7
    one = compile_model(walrus)
    pairs = ((1, 2), (3, 4))
    assert one.bind(pairs) == (pairs,)
    assert one.bind({1: 2}) == ({1: 2},)


def named_itself(x):
    n = {{hp.choice("n", [1, 2])}}
    return n


def templated_helper(n):
    k = {{choice([1, 2])}}
    return n + k


def helps_along(n):
    return templated_helper(n)


def calls_templated_helper(x):
    n = {{choice([1, 2])}}
    return helps_along(n)


def unnamed_match(x):
    match {{choice([1, 2])}}:
        case n:
            return n


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (named_itself, "names itself 'n': leave that out"),
        (calls_templated_helper, r"templated_helper\(\), line \d+ of test_tricky.py, .*only"),
        (unnamed_match, "has no name"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unsupported_models_are_refused_before_anything_runs(model, message):
    """A model that would fail in mid-search, or behave wrongly, is refused with the reason."""
    with pytest.raises(TemplateError, match=message):
        compile_model(model)
