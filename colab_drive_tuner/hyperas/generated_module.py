"""Checks of the module that hyperas makes of the user's functions: its imports, and its rest.

hyperas writes a module out of the text of the model and data functions and the imports of their
notebook. Where that cannot work it fails late, or in words of its own inside. Nothing here changes
hyperas: `compat` does, and calls this.
"""

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from colab_drive_tuner.errors import ObjectiveError
from colab_drive_tuner.notebook.imports import global_names, imports_of, notebook_imports
from colab_drive_tuner.templates.parser import has_template
from colab_drive_tuner.templates.suppress_warnings import suppress_warnings
from colab_drive_tuner.user_warnings import user_frame

TEMP_FILE = "temp_model.py (made by hyperas, in memory)"
"""What tracebacks show as the file of hyperas's module."""
_EMPTY_SPACE = "def get_space():\n    return {\n    }\n"
_WAY_OUT = (
    "Or take minimize from colab_drive_tuner.hyperas_style, which has the same arguments: it wants "
    "none of that."
)


def check_source_readable(*functions: Any) -> None:
    """Raise `ObjectiveError` for a function whose source is nowhere."""
    for function in functions:
        try:
            inspect.getsource(function)
        except (OSError, TypeError):
            name = getattr(function, "__name__", repr(function))
            raise ObjectiveError(
                f"hyperas cannot read the source of {name}(): define it in a file, or in a "
                "notebook cell without %%time."
            ) from None


def collect_imports(
    model: Callable[..., Any], notebook: str | None, announce: Callable[[str], object]
) -> list[str]:
    """The imports of the notebook, or else of the calling script or cell, and of the model."""
    if notebook:
        imports = notebook_imports(notebook, announce)
    else:
        imports = imports_of("".join(_calling_lines()))
    # hyperas takes these out of the model, and counts on finding them in the file.
    return imports + imports_of(textwrap.dedent(inspect.getsource(model)))


@contextmanager
def explain_rewriting_errors(model: Callable[..., Any], data: Callable[..., Any]) -> Iterator[None]:
    """Within the block hyperas rewrites the functions; what it stumbles over is an error in words.

    None of the user's code runs then, so what is raised is about the text.
    """
    try:
        yield
    except (TypeError, IndexError, SyntaxError) as error:
        raise ObjectiveError(
            f"hyperas cannot rewrite {model.__name__}() and {data.__name__}() ({error}): it wants "
            "functions that are not indented, a data function of several lines that ends in one "
            f"line such as return x, y, and a name before the first template. {_WAY_OUT}"
        ) from error


def check_generated_text(text: str, model: Callable[..., Any], session: Mapping[str, Any]) -> None:
    """Raise `ObjectiveError` for what hyperas made of the functions, where it would not work."""
    try:
        with suppress_warnings():
            tree = ast.parse(text)
            compile(text, TEMP_FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        if "outside function" in error.msg:
            line = text.splitlines()[(error.lineno or 1) - 1].strip()
            raise ObjectiveError(
                "hyperas runs the body of the data function outside of any function, so it cannot "
                f"hold {line!r}: it wants one return, in the last line. {_WAY_OUT}"
            ) from error
        raise ObjectiveError(
            f"hyperas cannot rewrite the model or data function: of {(error.text or '').strip()!r} "
            f"it makes what Python does not read ({error.msg}). {_WAY_OUT}"
        ) from error
    if has_template(tree) or text.endswith(_EMPTY_SPACE):
        raise ObjectiveError(
            f"hyperas does not see every template of {model.__name__}(), or there is none: one "
            f"must not hold braces, such as a dict's. {_WAY_OUT}"
        )
    _, missing = global_names(text, TEMP_FILE)
    wanted = [name for name in inspect.signature(model).parameters if name in missing]
    if wanted:  # what the session has by that name is not what data() returns
        raise ObjectiveError(
            f"hyperas takes the arguments of {model.__name__}() by name from the body of the data "
            f"function, which gives no value to {', '.join(wanted)}: assign them there before its "
            f"return. {_WAY_OUT}"
        )
    absent = sorted(missing - session.keys())
    if absent:
        raise ObjectiveError(
            f"The model or data function uses {', '.join(absent)}, which neither the "
            "notebook's imports nor this session have: define it (run its cell) first."
        )


def _calling_lines() -> list[str]:
    """The lines of the script or cell that called hyperas."""
    frame = user_frame()
    return linecache.getlines(frame.f_code.co_filename, frame.f_globals) if frame else []
