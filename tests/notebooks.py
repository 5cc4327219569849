"""Runner for the notebooks in notebooks/: a real kernel, an emulated Drive, Colab's environment.

As a script it saves the notebooks with their outputs: `python -m tests.notebooks half_trial`.
"""

import asyncio
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
COLAB_NOTEBOOK = "application/vnd.google.colaboratory"


def execute(name: str, folder: Path, emulator: Any) -> Any:
    """Run all cells of a notebook and return it with its outputs; stop at the first error.

    The cells run in `folder`/content; paths in the outputs are replaced by those of Colab.
    """
    import nbformat
    from nbclient import NotebookClient

    from colab_drive_tuner import DriveClient
    from tests.fakes.colab_sessions import SessionsServer, entry

    path = FOLDER / f"{name}.ipynb"
    content = folder / "content"
    content.mkdir()
    temporary = folder / "tmp"
    temporary.mkdir()
    client = DriveClient.connect()
    file = client.create_file(path.name, path, parent="root", mime_type=COLAB_NOTEBOOK)
    client.close()
    notebook = nbformat.read(path, as_version=4)
    with SessionsServer([entry(path.name, f"fileId={file.id}")]) as sessions:
        environment = os.environ | emulator.environment
        environment |= {
            "COLAB_RELEASE_TAG": "release-colab",
            "COLAB_JUPYTER_IP": "127.0.0.1",
            "KMP_TARGET_PORT": str(sessions.port),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "TMPDIR": str(temporary),
        }
        kernel = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(content)}},
            record_timing=False,
            coalesce_streams=True,  # keep only the last state of a progress line
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbclient warns about event loops and ports
            asyncio.run(kernel.async_execute(env=environment))
    names = {
        str(content): "/content",
        str(temporary): "/tmp",
        str(ROOT): "/usr/local/lib/python3/dist-packages",
        emulator.url: "https://drive.google.com",
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for holder in (output, output.get("data", {})):
                for key in {"text", "text/html", "text/plain"} & set(holder):
                    for here, there in names.items():
                        holder[key] = holder[key].replace(here, there)
    return notebook


def keep(name: str) -> None:
    """Run a notebook and save it with its outputs in the repository."""
    import nbformat

    from colab_drive_tuner.emulator import DriveEmulator

    with tempfile.TemporaryDirectory() as folder, DriveEmulator() as emulator:
        os.environ |= emulator.environment | {"HOME": folder, "XDG_STATE_HOME": f"{folder}/state"}
        nbformat.write(execute(name, Path(folder), emulator), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        keep(chosen)
