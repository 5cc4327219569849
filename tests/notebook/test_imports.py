"""Imports of notebook cells that hold magics, and text that looks like magics."""

import json
import sys

import pytest

from colab_drive_tuner.notebook.imports import notebook_imports


def imports(tmp_path, *cells):
    """The imports of a notebook with these code cells, and what is said of those left out."""
    code = [{"cell_type": "code", "source": cell, "metadata": {}} for cell in cells]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": code, "nbformat": 4}))
    said = []
    return notebook_imports(tmp_path / "n", said.append), said


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
    """Whatever of IPython stands in the cell, or only looks like it."""
    assert imports(tmp_path, cell) == (["import numpy as np"], [])


@pytest.mark.parametrize("magic", ["bash", "html", "writefile x.py", "script python3", "R"])
def test_cells_that_are_no_python_of_the_session_give_nothing(magic, tmp_path):
    """Another language, another process or a file: nothing is imported there, nothing is said."""
    assert imports(tmp_path, f"%%{magic}\nimport nothing") == ([], [])


def test_an_unknown_magic_over_no_python_is_named(tmp_path):
    """Its cell may have been Python for it: the line tells which cell that is."""
    found, said = imports(tmp_path, "import os", "%%my_own\nimport x from y")
    assert found == ["import os"]
    assert len(said) == 1
    assert "code cell 2" in said[0]
    assert "%%my_own" in said[0]


def test_without_ipython_a_cell_with_magics_is_named(tmp_path, monkeypatch):
    """Other cells are read as ever."""
    monkeypatch.setitem(sys.modules, "IPython.core.inputtransformer2", None)
    found, said = imports(tmp_path, "import os", "%cd x\nimport json")
    assert found == ["import os"]
    assert ["code cell 2" in one for one in said] == [True]
