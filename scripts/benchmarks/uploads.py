"""Workloads of other tools: upload of all Trials, Optuna's storages, transfer of files."""

import contextlib
import datetime
import io
import json
import os
import pickle
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 2**20


def _google(url: str) -> Any:
    """Return a service of google-api-python-client for the emulator."""
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build_from_document
    from googleapiclient.discovery_cache import get_static_doc

    document = {**json.loads(get_static_doc("drive", "v3")), "rootUrl": f"{url}/"}
    return build_from_document(document, credentials=Credentials("emulator"))


def _pydrive(url: str) -> Any:
    """Return PyDrive2's GoogleDrive for the emulator; its own Authorize has a fixed address."""
    from googleapiclient.discovery import build
    from oauth2client.client import OAuth2Credentials
    from pydrive2.auth import GoogleAuth
    from pydrive2.drive import GoogleDrive

    auth = GoogleAuth(settings={"client_config_backend": "file", "save_credentials": False})
    later = datetime.datetime(2099, 1, 1)
    auth.credentials = OAuth2Credentials("emulator", "c", "s", None, later, f"{url}/token", "bench")
    auth.http = auth.credentials.authorize(auth._build_http())
    place = url + "/discovery/v1/apis/{api}/{apiVersion}/rest"
    auth.service = build(
        "drive", "v2", http=auth.http, discoveryServiceUrl=place, static_discovery=False
    )
    auth.Authorize = lambda: None
    return GoogleDrive(auth)


def upload_all(*, client: str, url: str, count: int) -> dict[str, float]:
    """Run a plain search that uploads a pickle of all Trials after each trial, and waits."""
    import hyperopt
    import numpy as np
    from searches import SPACE, bowl

    if client == "google-api-python-client":
        from googleapiclient.http import MediaIoBaseUpload

        service = _google(url)
        made: list[str] = []

        def upload(content: bytes) -> None:
            media = MediaIoBaseUpload(io.BytesIO(content), "application/octet-stream")
            if made:
                service.files().update(fileId=made[0], media_body=media, fields="id").execute()
            else:
                create = service.files().create(
                    body={"name": "trials.pkl"}, media_body=media, fields="id"
                )
                made.append(create.execute()["id"])
    else:
        file = _pydrive(url).CreateFile({"title": "trials.pkl"})

        def upload(content: bytes) -> None:
            file.content = io.BytesIO(content)
            file.Upload()

    trials = hyperopt.Trials()

    def saved(_trials: Any, *_: Any) -> tuple[bool, list[Any]]:
        upload(pickle.dumps(trials))
        return False, []

    begun = time.perf_counter()
    hyperopt.fmin(
        bowl,
        SPACE,
        algo=hyperopt.rand.suggest,
        max_evals=count,
        trials=trials,
        rstate=np.random.default_rng(7),
        show_progressbar=False,
        return_argmin=False,
        early_stop_fn=saved,
    )
    return {"seconds": time.perf_counter() - begun}


def optuna_journal(folder: str) -> Any:
    """Return Optuna's JournalStorage in this folder."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(f"{folder}/journal.log"))


def optuna_trials(*, storage: str, count: int) -> dict[str, float]:
    """Run the same objective with Optuna's random sampler, on the local disk."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: Any) -> float:
        return sum(trial.suggest_float(f"x{n}", -1, 1) ** 2 for n in range(5))

    with tempfile.TemporaryDirectory() as folder:
        journal = storage == "JournalStorage"
        kept: Any = optuna_journal(folder) if journal else f"sqlite:///{folder}/study.db"
        study = optuna.create_study(storage=kept, sampler=optuna.samplers.RandomSampler(7))
        begun = time.perf_counter()
        study.optimize(objective, n_trials=count)
        return {"seconds": time.perf_counter() - begun}


class _Memory:
    """Peak memory of this process above its start, in MiB, sampled."""

    def __enter__(self) -> "_Memory":
        self._base, self.peak, self._stop = _resident(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.peak = max(self.peak, most - self._base if most > self._most else 0.0)

    def _watch(self) -> None:
        self._most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, _resident() - self._base)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def transfer(*, client: str, url: str, path: str) -> dict[str, float]:
    """Upload and download the file; return MiB per second and MiB of memory of each."""
    up, down = _transfers(client, url)
    size = Path(path).stat().st_size / MIB
    with tempfile.TemporaryDirectory() as folder:
        small, copy = Path(folder) / "small", Path(folder) / "copy"
        small.write_bytes(b"warm")
        down(up(small), copy)  # imports and the first connection do not count
        with _Memory() as going_up:
            begun = time.perf_counter()
            file_id = up(Path(path))
            uploaded = time.perf_counter() - begun
        with _Memory() as coming_down:
            begun = time.perf_counter()
            down(file_id, copy)
            downloaded = time.perf_counter() - begun
        same = copy.stat().st_size == Path(path).stat().st_size
    return {
        "up": size / uploaded,
        "down": size / downloaded,
        "memory_up": going_up.peak,
        "memory_down": coming_down.peak,
        "same": same,
    }


def _transfers(client: str, url: str) -> tuple[Callable[[Path], str], Callable[[str, Path], None]]:
    if client == "colab_drive_tuner":
        from colab_drive_tuner.drive import DriveClient

        ours = DriveClient.connect()
        return (
            lambda path: ours.create_file(path.name, path, parent="root").id,
            ours.download_file,
        )
    if client == "google-api-python-client":
        from googleapiclient.http import MediaFileUpload, MediaIoBaseDownload

        service = _google(url)

        def up(path: Path) -> str:
            media = MediaFileUpload(str(path), "application/octet-stream", resumable=True)
            body = {"name": path.name}
            request = service.files().create(body=body, media_body=media, fields="id")
            answer = None
            while answer is None:
                _, answer = request.next_chunk()
            return str(answer["id"])

        def down(file_id: str, target: Path) -> None:
            with target.open("wb") as sink:
                request = MediaIoBaseDownload(sink, service.files().get_media(fileId=file_id))
                done = False
                while not done:
                    _, done = request.next_chunk()

        return up, down

    drive = _pydrive(url)

    def put(path: Path) -> str:
        file = drive.CreateFile({"title": path.name})
        file.SetContentFile(str(path))
        file.Upload()
        with contextlib.suppress(AttributeError):
            file.content.close()
        return str(file["id"])

    def get(file_id: str, target: Path) -> None:
        drive.CreateFile({"id": file_id}).GetContentFile(str(target))

    return put, get
