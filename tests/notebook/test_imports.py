"""Imports of notebook cells with magics, or with text that looks like magics."""

import json
import sys

import pytest

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.notebook import cells as cells_module
from colab_drive_tuner.notebook.cells import notebook_imports


def imports(tmp_path, *cells):
    """Return the imports of a notebook with these code cells, and messages about skipped ones."""
    code = [{"cell_type": "code", "source": cell, "metadata": {}} for cell in cells]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": code, "nbformat": 4}))
    messages = []
    return notebook_imports(tmp_path / "n", messages.append), messages


@pytest.mark.parametrize(
    "cell",
    [
        "!pip install x\nimport numpy as np\nprint('loss = %.3f' % 0.5)",
        "%matplotlib inline\nimport numpy as np\nrest = (17\n    % 5)",
        "!ls\nimport numpy as np\nassert (1\n   != 2)",
        "%cd x\nimport numpy as np\nx = '''\n%cd y\n!rm z\n?'''",
        "files = !ls\nvalue = %env HOME\nimport numpy as np  # = %time",
        "!echo a \\\n  b\nimport numpy as np",
        "import numpy as np\nnp?\n?np\nnp.array??",
        "    %time x = 1\n    import numpy as np",
        "%time import numpy as np",
        "%timeit -n1 -r1 import numpy as np",
        "\n\n%%time\nimport numpy as np",
        "%%capture out\n%%time\nimport numpy as np",
        "%%wandb\n!pip install x\nimport numpy as np",
        "%%timeit import numpy as np\n1 % 2",
        "await f()\nimport numpy as np\n%autoreload 2",
    ],
)
def test_magics_hide_no_import(cell, tmp_path):
    """An import is found next to any IPython syntax, or text that only looks like it."""
    assert imports(tmp_path, cell) == (["import numpy as np"], [])


@pytest.mark.parametrize("magic", ["bash", "html", "writefile x.py", "script python3", "R"])
def test_cells_of_other_languages_are_ignored(magic, tmp_path):
    """Cells of another language, process or file have no imports and cause no message."""
    assert imports(tmp_path, f"%%{magic}\nimport nothing") == ([], [])


def test_an_unknown_magic_over_no_python_is_named(tmp_path):
    """A cell that only its unknown magic can read is named in a message."""
    found, messages = imports(tmp_path, "import os", "%%my_own\nimport x from y")
    assert found == ["import os"]
    assert len(messages) == 1
    assert "code cell 2" in messages[0]
    assert "%%my_own" in messages[0]


def test_without_ipython_a_cell_with_magics_is_named(tmp_path, monkeypatch):
    """Without IPython a message names the cell, and other cells are read."""
    monkeypatch.setitem(sys.modules, "IPython.core.inputtransformer2", None)
    found, messages = imports(tmp_path, "import os", "%cd x\nimport json")
    assert found == ["import os"]
    assert ["code cell 2" in one for one in messages] == [True]


def cells(**cell):
    """Return a notebook with one code cell that has these entries."""
    return json.dumps({"cells": [{"cell_type": "code", **cell}]}).encode()


NO_NOTEBOOKS = {
    "nothing": b"",
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "an endless number": b'{"cells":' + b"9" * 100_000 + b"}",
    "a list": b"[]",
    "null": b"null",
    "text for cells": b'{"cells": "abc"}',
    "null for cells": b'{"cells": null}',
    "null for a cell": b'{"cells": [null]}',
    "a cell of no type": b'{"cells": [{"source": "x"}]}',
    "a number for source": cells(source=5),
    "null for source": cells(source=None),
    "numbers for lines": cells(source=[1, 2]),
    "lists for lines": cells(source=[["import os"]]),
}


@pytest.mark.parametrize("case", NO_NOTEBOOKS)
def test_an_invalid_notebook_is_an_error(case, tmp_path):
    """The error about a broken, deeply nested or wrongly typed notebook names the file."""
    (tmp_path / "n.ipynb").write_bytes(NO_NOTEBOOKS[case])
    with pytest.raises(NotebookError, match=r"n.ipynb' is not a notebook \(.+\): save it again"):
        notebook_imports(tmp_path / "n")


def test_a_file_too_large_to_be_a_notebook_is_not_read(tmp_path, monkeypatch):
    """A file that is too large for a notebook is refused by its size alone."""
    monkeypatch.setattr(cells_module, "MAX_BYTES", 1 << 20)
    (tmp_path / "n.ipynb").write_bytes(cells(source="#" * (1 << 20)))
    with pytest.raises(NotebookError, match="it is larger than 1 MiB"):
        notebook_imports(tmp_path / "n")


@pytest.mark.parametrize(
    "source",
    [
        "'\ud800'",
        "(" * 5000 + ")" * 5000,
        "x = " + "-" * 100_000 + "1",
        "x" + ".a" * 100_000,
        "x = " + "1 + " * 100_000 + "1",
        "x = " + "9" * 10_000,
        "a\0b",
        "%%time\n" * 5000,
    ],
    ids=["surrogate", "brackets", "minus", "attributes", "sum", "digits", "null", "magics"],
)
def test_a_cell_that_is_too_much_for_python_is_named(source, tmp_path):
    """A cell that Python cannot parse is skipped with a message; other cells are read."""
    found, messages = imports(tmp_path, "import os", source, "import re")
    assert found == ["import os", "import re"]
    assert len(messages) == 1
    assert "skipped code cell 2 of n.ipynb" in messages[0]
