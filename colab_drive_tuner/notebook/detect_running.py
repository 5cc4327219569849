"""Detection of the running notebook, from the runtime: VS Code, Colab or Jupyter.

There is no API for it. Colab and Jupyter list their sessions over HTTP, each in its own format; VS
Code sets a variable in the kernel. Nothing here talks to Drive, and no request waits longer than
`TIMEOUT_SECONDS`.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.error import HTTPError

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.runtime import call_in_thread, request_notebook_from_page, vscode_notebook

TIMEOUT_SECONDS = 5.0
_MAX_ANSWER_BYTES = 8 * 2**20
_DRIVE_ID = re.compile(r"(?:.*[?&#])?fileId=([A-Za-z0-9_-]+)(?:[&#].*)?")
_FROM_THE_WEB = re.compile(r"://|^/?(?:github|gist)/", re.IGNORECASE)


@dataclass(frozen=True)
class RunningNotebook:
    """The running notebook as its runtime describes it; None where the runtime gives no answer."""

    name: str
    """The displayed name, usually with `.ipynb`."""
    drive_id: str | None = None
    path: Path | None = None
    """The notebook's path on this disk."""
    elsewhere: bool = False
    """Whether it was opened from another place (GitHub, the web, another computer), so that a file
    of the same name in Drive is a different notebook."""


@dataclass(frozen=True)
class _Server:
    """A Jupyter server (or Colab's) that lists its sessions."""

    url: str
    token: str = ""
    root: Path | None = None
    pid: int | None = None


def content_in_browser() -> dict[str, Any] | None:
    """Return the notebook as open in Colab's page, saved or not; None if no page answers."""
    if not (Variable.COLAB_RELEASE.get() or Variable.COLAB_ADDRESS.get()):
        return None
    try:
        return call_in_thread(request_notebook_from_page)(TIMEOUT_SECONDS + 1)
    except Exception:  # noqa: BLE001 - Colab's private module may fail in any way
        return None


def running_notebook(*, browser: bool = True) -> RunningNotebook | None:
    """Return the notebook that runs this code, or None if it cannot be detected; never raises.

    `browser`: whether Colab's page may be asked.
    """
    in_editor = vscode_notebook()
    if in_editor is not None:
        path = Path(in_editor)
        if _is_file(path):
            return RunningNotebook(path.name, path=path)
        # The kernel is remote: this is a path on the user's own computer, perhaps a Windows one.
        remote = PureWindowsPath(in_editor)
        return RunningNotebook(remote.name if remote.drive else path.name, elsewhere=True)
    return _from_session_list() or _from_environment() or (_from_browser() if browser else None)


def open_notebook_paths() -> set[Path]:
    """Return the notebooks on this disk that any Jupyter server of this user has open."""
    found = {
        running.path.resolve()
        for server, item in _sessions(_jupyter_servers())
        if (running := _parse_entry(item, server.root)) is not None and running.path is not None
    }
    current = running_notebook(browser=False)
    return found | {current.path.resolve()} if current is not None and current.path else found


def _from_session_list() -> RunningNotebook | None:
    """Find this kernel's entry in the session list of Colab or of a Jupyter server."""
    kernel = _kernel_id()
    colab = _colab_server()
    if colab is not None:
        items = [item for _, item in _sessions([colab])]
        ours = [item for item in items if kernel and _entry_kernel(item) == kernel] or items
        # Colab runs one notebook per runtime; among several entries ours cannot be identified.
        if len(ours) == 1:
            return _parse_entry(ours[0], None, quoted=True)
    if kernel:
        for server, item in _sessions(_jupyter_servers()):
            if _entry_kernel(item) == kernel:
                return _parse_entry(item, server.root)
    return None


def _from_environment() -> RunningNotebook | None:
    """Return the path that a Jupyter server passed to its kernel; outdated after a rename."""
    path = Path(Variable.JUPYTER_SESSION.get())
    found = path.suffix == ".ipynb" and _is_file(path)
    return RunningNotebook(path.name, path=path) if found else None


def _from_browser() -> RunningNotebook | None:
    """Return the name that Colab's page stores in the notebook's metadata."""
    content = content_in_browser()
    metadata = content.get("metadata") if content else None
    colab = metadata.get("colab") if isinstance(metadata, dict) else None
    name = colab.get("name") if isinstance(colab, dict) else None
    return RunningNotebook(name) if isinstance(name, str) and name else None


def _parse_entry(
    item: dict[str, Any], root: Path | None, *, quoted: bool = False
) -> RunningNotebook | None:
    given = item.get("notebook")
    notebook = given if isinstance(given, dict) else {}
    path = item.get("path") or notebook.get("path") or ""
    name = item.get("name") or notebook.get("name") or ""
    if not isinstance(path, str) or not isinstance(name, str):
        return None
    plain_path = urllib.parse.unquote(path)
    drive = _DRIVE_ID.fullmatch(plain_path)
    if drive is None and not quoted:
        return _local_notebook(path, root)
    name = urllib.parse.unquote(name or path.rpartition("/")[2])
    if not name:
        return None
    if drive is not None:
        return RunningNotebook(name, drive_id=drive[1])
    return RunningNotebook(name, elsewhere=_FROM_THE_WEB.search(plain_path) is not None)


def _local_notebook(path: str, root: Path | None) -> RunningNotebook | None:
    path = path.removeprefix("RTC:")  # JupyterLab's prefix of collaboratively edited documents
    if root is None or not path:
        return None
    local = root / path.lstrip("/")
    return RunningNotebook(local.name, path=local if _is_file(local) else None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # not a valid file name on this disk
        return False


def _entry_kernel(item: dict[str, Any]) -> str | None:
    kernel = item.get("kernel")
    return kernel.get("id") if isinstance(kernel, dict) else None


def _colab_server() -> _Server | None:
    address, port = Variable.COLAB_ADDRESS.get(), Variable.COLAB_PORT.get() or "9000"
    if not address:
        return None
    return _Server(f"http://{address}:{port}/", Variable.COLAB_TOKEN.get())


def _jupyter_servers() -> list[_Server]:
    """List the Jupyter servers of this user; the one that started this kernel comes first."""
    parent = Variable.JUPYTER_PARENT.get()
    hub_token = Variable.JUPYTERHUB_TOKEN.get()
    servers = []
    for folder in _runtime_folders():
        for path in sorted([*folder.glob("jpserver-*.json"), *folder.glob("nbserver-*.json")]):
            try:
                info = json.loads(path.read_text())
                root = info.get("root_dir") or info.get("notebook_dir")
                token = info.get("token") or hub_token
                servers.append(
                    _Server(info["url"], token, Path(root) if root else None, info["pid"])
                )
            except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
                continue  # the server is just starting or ending, or it is another tool's file
    return sorted(servers, key=lambda server: str(server.pid) != parent)


def _runtime_folders() -> list[Path]:
    """List the folders where Jupyter servers record their addresses."""
    file = _connection_file()
    candidates = [file.parent] if file else []
    if named := Variable.JUPYTER_RUNTIME.get():
        candidates.append(Path(named))
    with suppress(ImportError):  # Jupyter is not installed, or the connection file is enough
        from jupyter_core.paths import jupyter_runtime_dir

        candidates.append(Path(jupyter_runtime_dir()))
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def _connection_file() -> Path | None:
    """Return the path of this kernel's connection file; None outside a kernel."""
    kernelapp = sys.modules.get("ipykernel.kernelapp")
    if kernelapp is None or not kernelapp.IPKernelApp.initialized():
        return None
    return Path(kernelapp.IPKernelApp.instance().abs_connection_file)


def _kernel_id() -> str:
    """Return this kernel's id in session lists: servers name the connection file after it."""
    file = _connection_file()
    return file.stem.removeprefix("kernel-") if file else ""


def _sessions(servers: list[_Server]) -> list[tuple[_Server, dict[str, Any]]]:
    """Query all servers at once, and return their entries; a server without an answer has none."""
    pending = [(server, call_in_thread(partial(_get_json, server))) for server in servers]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    found = []
    for server, wait in pending:
        answer = None
        with suppress(Exception):  # ended, access denied, too slow, or not a Jupyter server
            answer = wait(max(0.0, deadline - time.monotonic()))
        entries = answer if isinstance(answer, list) else []
        found += [(server, entry) for entry in entries if isinstance(entry, dict)]
    return found


def _get_json(server: _Server) -> Any:
    address = urllib.parse.urljoin(server.url, "api/sessions")
    request = urllib.request.Request(address)  # noqa: S310 - its scheme is checked below
    if request.type not in ("http", "https"):
        raise ValueError(f"{server.url} is not a web address")
    if server.token:
        request.add_header("Authorization", f"token {server.token}")
    # These addresses are local: the environment's proxies do not apply.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            return json.loads(response.read(_MAX_ANSWER_BYTES))
    except HTTPError as refusal:
        refusal.close()
        raise
