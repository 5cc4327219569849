"""Answers of the runtime itself about the notebook that is running: VS Code, Colab, Jupyter.

There is no API for it. Colab and Jupyter list their sessions over HTTP, each in its own shape; VS
Code leaves a variable in the notebook. Nothing here talks to Drive, and nothing waits longer than
`SECONDS` for any of them.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.error import HTTPError

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.runtime import call_in_thread, open_notebook_content, vscode_notebook

SECONDS = 5.0
_ANSWER_BYTES = 8 * 2**20
_DRIVE_ID = re.compile(r"(?:.*[?&#])?fileId=([A-Za-z0-9_-]+)(?:[&#].*)?")
_FROM_THE_WEB = re.compile(r"://|^/?(?:github|gist)/", re.IGNORECASE)


@dataclass(frozen=True)
class Running:
    """The running notebook as its runtime describes it; what the runtime does not say is None."""

    name: str
    """As people see it, usually with its `.ipynb`."""
    drive_id: str | None = None
    path: Path | None = None
    """Where it lies on this very disk."""
    elsewhere: bool = False
    """It was opened from some other place (GitHub, the web, another computer): a file of its name
    in Drive is not the same notebook."""


@dataclass(frozen=True)
class _Server:
    """A Jupyter server (or Colab's) that can be asked for its sessions."""

    url: str
    token: str = ""
    root: Path | None = None
    pid: int | None = None


def content_in_browser() -> dict[str, Any] | None:
    """The notebook as it is open in Colab's page, saved or not; None where no page answers."""
    if not (Variable.COLAB_RELEASE.get() or Variable.COLAB_ADDRESS.get()):
        return None
    try:
        return call_in_thread(open_notebook_content)(SECONDS + 1)
    except Exception:  # noqa: BLE001 - Colab's private module may fail in any way: no page then
        return None


def running_notebook(
    page: Callable[[], dict[str, Any] | None] = content_in_browser,
) -> Running | None:
    """The notebook that runs this code, or None where nothing here can say; never raises."""
    in_editor = vscode_notebook()
    if in_editor is not None:
        path = Path(in_editor)
        if _is_file(path):
            return Running(path.name, path=path)
        # The kernel is remote: this is a path on the user's own computer, perhaps a Windows one.
        remote = PureWindowsPath(in_editor)
        return Running(remote.name if remote.drive else path.name, elsewhere=True)
    return _listed() or _from_environment() or _in_the_page(page)


def open_paths() -> set[Path]:
    """The notebooks on this disk that any Jupyter server of this user has open."""
    found = {
        running.path.resolve()
        for server, item in _sessions(_jupyter_servers())
        if (running := _read_item(item, server.root)) is not None and running.path is not None
    }
    here = running_notebook(lambda: None)
    return found | {here.path.resolve()} if here is not None and here.path else found


def _listed() -> Running | None:
    """The entry of this kernel in the session list of Colab or of the Jupyter server."""
    kernel = _kernel_id()
    colab = _colab_server()
    if colab is not None:
        items = [item for _, item in _sessions([colab])]
        ours = [item for item in items if kernel and _kernel_of(item) == kernel] or items
        # Colab runs one notebook a runtime; where it lists several, none can be told to be ours.
        if len(ours) == 1:
            return _read_item(ours[0], None, quoted=True)
    if kernel:
        for server, item in _sessions(_jupyter_servers()):
            if _kernel_of(item) == kernel:
                return _read_item(item, server.root)
    return None


def _from_environment() -> Running | None:
    """The path that a Jupyter server gave its kernel at the start; renaming makes it stale."""
    path = Path(Variable.JUPYTER_SESSION.get())
    return Running(path.name, path=path) if path.suffix == ".ipynb" and _is_file(path) else None


def _in_the_page(page: Callable[[], dict[str, Any] | None]) -> Running | None:
    """The name that Colab's page keeps in the notebook, where nothing better is known."""
    content = page()
    metadata = content.get("metadata") if content else None
    colab = metadata.get("colab") if isinstance(metadata, dict) else None
    name = colab.get("name") if isinstance(colab, dict) else None
    return Running(name) if isinstance(name, str) and name else None


def _read_item(item: dict[str, Any], root: Path | None, *, quoted: bool = False) -> Running | None:
    inner = item.get("notebook") if isinstance(item.get("notebook"), dict) else {}
    path = item.get("path") or (inner or {}).get("path") or ""
    name = item.get("name") or (inner or {}).get("name") or ""
    if not isinstance(path, str) or not isinstance(name, str):
        return None
    drive = _DRIVE_ID.fullmatch(urllib.parse.unquote(path))
    if drive is not None or quoted:
        name = urllib.parse.unquote(name or path.rpartition("/")[2])
        if drive is not None:
            return Running(name, drive_id=drive[1]) if name else None
        elsewhere = _FROM_THE_WEB.search(urllib.parse.unquote(path)) is not None
        return Running(name, elsewhere=elsewhere) if name else None
    path = path.removeprefix("RTC:")  # so JupyterLab calls a document that several people edit
    if root is None or not path:
        return None
    local = root / path.lstrip("/")
    return Running(local.name, path=local if _is_file(local) else None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file of this disk can have
        return False


def _kernel_of(item: dict[str, Any]) -> str | None:
    kernel = item.get("kernel")
    return kernel.get("id") if isinstance(kernel, dict) else None


def _colab_server() -> _Server | None:
    address, port = Variable.COLAB_ADDRESS.get(), Variable.COLAB_PORT.get() or "9000"
    if not address:
        return None
    return _Server(f"http://{address}:{port}/", Variable.COLAB_TOKEN.get())


def _jupyter_servers() -> list[_Server]:
    """The Jupyter servers of this user, the one that started this kernel first."""
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
                continue  # a server that is just starting or ending, or another tool's file
    return sorted(servers, key=lambda server: str(server.pid) != parent)


def _runtime_folders() -> list[Path]:
    """Where Jupyter's servers may have left their addresses."""
    file = _connection_file()
    candidates = [file.parent] if file else []
    if named := Variable.JUPYTER_RUNTIME.get():
        candidates.append(Path(named))
    with suppress(ImportError):  # no Jupyter here, or the connection file shows where it lives
        from jupyter_core.paths import jupyter_runtime_dir

        candidates.append(Path(jupyter_runtime_dir()))
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def _connection_file() -> Path | None:
    """Where this kernel's connection file lies; None outside of a kernel."""
    kernelapp = sys.modules.get("ipykernel.kernelapp")
    if kernelapp is None or not kernelapp.IPKernelApp.initialized():
        return None
    return Path(kernelapp.IPKernelApp.instance().abs_connection_file)


def _kernel_id() -> str:
    """The id of this kernel in a session list: servers name the connection file after it."""
    file = _connection_file()
    return file.stem.removeprefix("kernel-") if file else ""


def _sessions(servers: list[_Server]) -> list[tuple[_Server, dict[str, Any]]]:
    """Every entry that the servers list; asked all at once, and silence counts as an empty list."""
    waiting = [(server, call_in_thread(partial(_get_json, server))) for server in servers]
    deadline = time.monotonic() + SECONDS
    found = []
    for server, wait in waiting:
        answer = None
        with suppress(Exception):  # gone, locked, slow, or not a Jupyter server at all
            answer = wait(max(0.0, deadline - time.monotonic()))
        entries = answer if isinstance(answer, list) else []
        found += [(server, entry) for entry in entries if isinstance(entry, dict)]
    return found


def _get_json(server: _Server) -> Any:
    address = urllib.parse.urljoin(server.url, "api/sessions")
    request = urllib.request.Request(address)  # noqa: S310 - its kind is checked below
    if request.type not in ("http", "https"):
        raise ValueError(f"{server.url} is not a web address")
    if server.token:
        request.add_header("Authorization", f"token {server.token}")
    # A proxy of the environment is for the world outside; these addresses are this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as response:
            return json.loads(response.read(_ANSWER_BYTES))
    except HTTPError as refusal:
        refusal.close()
        raise
