"""Checks of the module that hyperas generates from the user's functions.

hyperas generates a module from the text of the model and data functions and the imports of their
notebook. If the module cannot work, hyperas fails late or with an internal error. `compat`, which
patches hyperas, calls these checks.
"""

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from colab_drive_tuner.errors import ObjectiveError
from colab_drive_tuner.notebook.cells import global_names, imports_of, notebook_imports
from colab_drive_tuner.templates.function_source import suppress_warnings
from colab_drive_tuner.templates.parser import has_template
from colab_drive_tuner.warn_user import user_frame

TEMP_FILE = "temp_model.py (made by hyperas, in memory)"
"""File name of hyperas's module in tracebacks."""
_EMPTY_SPACE = "def get_space():\n    return {\n    }\n"
_ALTERNATIVE = (
    "Or use minimize from colab_drive_tuner.hyperas_style, which has the same arguments and none "
    "of these restrictions."
)


def has_source(function: Any) -> bool:
    """Return whether Python can read the source of a function or class."""
    try:
        inspect.getsource(function)
    except (OSError, TypeError):
        return False
    return True


def check_source_readable(*functions: Any) -> None:
    """Raise `ObjectiveError` for a function whose source cannot be read."""
    for function in functions:
        if not has_source(function):
            name = getattr(function, "__name__", repr(function))
            raise ObjectiveError(
                f"hyperas cannot read the source of {name}(): define it in a file, or in a "
                "notebook cell without %%time."
            )


def collect_imports(
    model: Callable[..., Any], notebook: str | None, notify: Callable[[str], object]
) -> list[str]:
    """Return the imports of the notebook, or of the calling script or cell, and of the model."""
    if notebook:
        imports = notebook_imports(notebook, notify)
    else:
        frame = user_frame()
        lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals) if frame else []
        imports = imports_of("".join(lines))
    # hyperas removes these from the model, and expects them in the file.
    return imports + imports_of(textwrap.dedent(inspect.getsource(model)))


def cannot_rewrite(
    model: Callable[..., Any], data: Callable[..., Any], error: Exception
) -> ObjectiveError:
    """Return the error for functions that hyperas fails to rewrite with `error`."""
    return ObjectiveError(
        f"hyperas cannot rewrite {model.__name__}() and {data.__name__}() ({error}): it needs "
        "functions that are not indented, and a data function of several lines that ends in one "
        f"line such as return x, y. {_ALTERNATIVE} In both, the first template must follow a "
        "name and `=` or `(`."
    )


def check_generated_text(
    text: str, model: Callable[..., Any], data: Callable[..., Any], session: Mapping[str, Any]
) -> None:
    """Raise `ObjectiveError` if the module that hyperas generated would not work."""
    try:
        with suppress_warnings():
            tree = ast.parse(text)
            compile(text, TEMP_FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        if "outside function" in error.msg:
            line = text.splitlines()[(error.lineno or 1) - 1].strip()
            raise ObjectiveError(
                "hyperas runs the body of the data function outside of any function, so it cannot "
                f"contain {line!r}: it needs one return, in the last line. {_ALTERNATIVE}"
            ) from error
        raise ObjectiveError(
            "hyperas cannot rewrite the model or data function: it generates invalid Python, "
            f"{(error.text or '').strip()!r} ({error.msg}). {_ALTERNATIVE}"
        ) from error
    if has_template(tree) or text.endswith(_EMPTY_SPACE):
        raise ObjectiveError(
            f"hyperas does not see every template of {model.__name__}(), or there is none: one "
            f"must not contain braces, such as a dict's. {_ALTERNATIVE}"
        )
    _, missing = global_names(text, TEMP_FILE)
    named = (*inspect.signature(data).parameters, *inspect.signature(model).parameters)
    if unset := [name for name in named if name in missing]:  # the session's are not meant
        raise ObjectiveError(
            f"hyperas runs the body of {data.__name__}() without its parameters, and takes the "
            f"arguments of {model.__name__}() by name from there, but it gives no value to "
            f"{', '.join(unset)}: assign them in the body. {_ALTERNATIVE}"
        )
    if computed := _computed_in_return(data):
        raise ObjectiveError(
            f"hyperas leaves out the return of {data.__name__}(), which computes {computed}: "
            f"assign it to the model's argument before the return. {_ALTERNATIVE}"
        )
    absent = sorted(missing - session.keys())
    if absent:
        raise ObjectiveError(
            f"The model or data function uses {', '.join(absent)}, which neither the "
            "notebook's imports nor this session define: define it (run its cell) first."
        )


def _computed_in_return(data: Callable[..., Any]) -> str:
    """Return the first expression in the function's last return; "" if it has only names."""
    match ast.parse(textwrap.dedent(inspect.getsource(data))).body:
        case [ast.FunctionDef(body=[*_, ast.Return(value=ast.expr() as returned)])]:
            parts = returned.elts if isinstance(returned, ast.Tuple) else [returned]
            computed = (part for part in parts if not isinstance(part, ast.Name | ast.Constant))
            return next(map(ast.unparse, computed), "")
    return ""
