"""Real executors: all kinds of searches, worker deaths, restarts, clusters without workers.

Each cluster starts in a program of its own, so that an executor that hangs can be killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from colab_drive_tuner.errors import MissingExtraError
from colab_drive_tuner.search.executors.loky import loky_executor
from colab_drive_tuner.search.executors.ray import ray_executor
from tests.markdown_runner import is_installed
from tests.processes import ROOT
from tests.search.executor_searches import check_every_kind_of_search
from tests.search.test_executors import spawned

NO_CLUSTER = 77
"""The exit status of a program whose cluster does not start on this machine."""


def test_every_kind_of_search_on_threads(tmp_path: Path) -> None:
    """On threads each kind of search equals the search without an executor."""
    with ThreadPoolExecutor(2) as pool:
        check_every_kind_of_search(tmp_path, pool, in_process=True)


@pytest.mark.parametrize("kind", ["spawn", "loky"])
def test_every_kind_of_search_on_processes(kind: str, tmp_path: Path) -> None:
    """On spawned processes and loky's, each kind of search equals the one without an executor."""
    with spawned() if kind == "spawn" else loky_executor(2) as pool:
        check_every_kind_of_search(tmp_path, pool)


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [(ray_executor, "ray", "ray"), (lambda: loky_executor(2), "joblib.externals", "loky")],
)
def test_an_executor_whose_package_is_missing_names_the_extra(
    make: Callable[[], object], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating an executor without its package fails at once and names the extra to install."""
    monkeypatch.setitem(sys.modules, module, None)  # marks a module as not importable
    with pytest.raises(MissingExtraError, match=rf"pip install 'colab-drive-tuner\[{extra}\]'"):
        make()


DASK = """
    import logging, sys, dask, distributed
    from pathlib import Path
    from tests.search.executor_searches import check_every_kind_of_search
    from tests.search.test_executors import deadly, run, statuses

    folder = Path(sys.argv[1])

    def cluster(**options):
        dask.config.set({"distributed.deploy.lost-worker-timeout": "120s"})
        return distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None,
            silence_logs=logging.CRITICAL, **options,
        )
"""


def test_every_kind_of_search_on_dask_and_a_killed_worker(tmp_path: Path) -> None:
    """A Dask client and its executor run trials; a killed worker costs its trial one attempt."""
    pytest.importorskip("distributed")
    script = f"""{DASK}
    import warnings

    if __name__ == "__main__":
        (folder / "marks").mkdir()
        with cluster() as made, distributed.Client(made) as client:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run(folder, lambda x: x**2, name="w", executor=client.get_executor())
            assert any("allowed-failures" in str(one.message) for one in caught), caught

            def never_again(dask_scheduler):
                dask_scheduler.allowed_failures = 0

            client.run_on_scheduler(never_again)
            check_every_kind_of_search(folder / "client", client)
            check_every_kind_of_search(folder / "executor", client.get_executor())
            once = deadly(folder / "marks", 3, times=1)
            result = run(folder, once, executor=client, max_attempts=3)
            assert statuses(result) == ["ok"] * 8
            assert len(list((folder / "marks").glob("3-*"))) == 2
    """
    run_program(tmp_path, script)


def test_a_dask_cluster_that_restarts_dies_or_stays_empty(tmp_path: Path) -> None:
    """Restarts, dead workers and unfetched results cost no attempt; without workers it ends."""
    pytest.importorskip("distributed")
    script = f"""{DASK}
    import contextlib, io, os, signal, threading, time
    from colab_drive_tuner.errors import ExecutorError
    from colab_drive_tuner.search.loop import parallel
    from colab_drive_tuner.training.trial import running_trial

    def while_two_run(name, act):
        # An objective of which two trials are at work when `act` is called in the driver.
        at = folder / (name + " at work")
        at.mkdir()

        def watch():
            while len(list(at.glob("*"))) < 2:
                time.sleep(0.02)
            act()
            (at / "acted").touch()

        def objective(x):
            trial = running_trial()
            (at / str(trial.tid)).touch()
            while trial.tid < 2 and not (at / "acted").exists():
                time.sleep(0.02)
            return dict(loss=x**2, status="ok", attempt=trial.attempt)

        threading.Thread(target=watch, daemon=True).start()
        return objective

    def kill_all():
        for nanny in made.workers.values():
            os.kill(nanny.pid, signal.SIGKILL)

    if __name__ == "__main__":
        dask.config.set({{"distributed.scheduler.allowed-failures": 0}})
        with cluster() as made, distributed.Client(made) as client:
            for name, act in (("restart", client.restart), ("killed", kill_all)):
                client.wait_for_workers(2)
                search = while_two_run(name, act)
                result = run(folder, search, name=name, executor=client, max_attempts=1)
                assert statuses(result) == ["ok"] * 8, statuses(result)
                assert {{doc["result"]["attempt"] for doc in result.trials.trials}} == {{1}}
            fetch = distributed.client.retry_operation

            async def lose(*given, **options):
                distributed.client.retry_operation = fetch
                raise distributed.comm.CommClosedError("the scheduler is gone")

            distributed.client.retry_operation = lose
            result = run(folder, lambda x: x**2, name="unfetched", executor=client)
            assert statuses(result) == ["ok"] * 8, statuses(result)
            assert distributed.client.retry_operation is fetch
            client.wait_for_workers(2)
            patience = parallel.ABSENT_SECONDS, parallel.GONE_SECONDS
            parallel.ABSENT_SECONDS, parallel.GONE_SECONDS = 0.01, 5.0
            search = while_two_run("gone", lambda: made.scale(0))
            with contextlib.redirect_stdout(io.StringIO()) as output:
                try:
                    run(folder, search, name="gone", executor=client)
                except ExecutorError as error:
                    assert "no workers for" in str(error), error
            assert "has no workers" in output.getvalue(), output.getvalue()
            parallel.ABSENT_SECONDS, parallel.GONE_SECONDS = patience
            made.scale(2)
            client.wait_for_workers(2)
            result = run(folder, lambda x: x**2, name="gone", executor=client)
            assert statuses(result) == ["ok"] * 8, statuses(result)
            search = while_two_run("closed", made.close)
            try:
                run(folder, search, name="closed", executor=client)
            except ExecutorError as error:
                assert "takes no more trials" in str(error), error
            else:
                raise AssertionError("a search ended although its cluster was closed")
    """
    run_program(tmp_path, script)


def test_every_kind_of_search_on_ray_and_a_killed_worker(tmp_path: Path) -> None:
    """A killed Ray worker costs one attempt; a request that no node can serve ends the search."""
    pytest.importorskip("ray", reason="pip install ray runs this test")
    sockets = tempfile.mkdtemp(dir="/tmp")  # a Unix socket's path may have about 100 characters
    script = f"""
    import sys
    from pathlib import Path
    import ray
    from colab_drive_tuner.errors import ExecutorError
    from colab_drive_tuner.search.executors.ray import ray_executor
    from colab_drive_tuner.search.loop import parallel
    from tests.search.executor_searches import check_every_kind_of_search
    from tests.search.test_executors import deadly, run, statuses

    marks = Path(sys.argv[1]) / "marks"
    marks.mkdir()
    here = {{"_node_ip_address": "127.0.0.1", "_temp_dir": {sockets!r}}}
    try:
        ray.init(num_cpus=2, include_dashboard=False, **here)
    except Exception as error:
        print(error)
        sys.exit({NO_CLUSTER})
    check_every_kind_of_search(Path(sys.argv[1]) / "forms", ray_executor())
    once = deadly(marks, 3, times=1)
    result = run(sys.argv[1], once, executor=ray_executor())
    assert statuses(result) == ["ok"] * 8
    assert len(list(marks.glob("3-*"))) == 2
    assert [ray_executor(num_cpus=need).num_workers for need in (None, 0.5, 2, 4)] == [2, 4, 1, 1]
    parallel.ABSENT_SECONDS, parallel.GONE_SECONDS = 0.5, 1.0
    for options in ({{"resources": {{"elsewhere": 1}}}}, {{"num_cpus": 3}}):
        try:
            run(sys.argv[1], once, name="elsewhere", executor=ray_executor(**options))
        except ExecutorError as error:
            assert "no workers for" in str(error), error
        else:
            raise AssertionError("a search ended that no node had room for")
    """
    try:
        run_program(tmp_path, script, RAY_AUTH_MODE="disabled", RAY_raylet_start_wait_time_s="60")
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def test_every_kind_of_search_on_mpi_and_a_killed_worker(tmp_path: Path) -> None:
    """When a worker dies, mpiexec ends all processes; the same program then finishes the search."""
    if not is_installed("mpi4py.MPI"):
        pytest.skip("no mpi4py here, or no library of MPI")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    program = str(mpiexec) if mpiexec.exists() else shutil.which("mpiexec")
    if program is None:
        pytest.skip("no mpiexec here")
    script = """
    import sys
    from pathlib import Path
    from mpi4py.futures import MPIPoolExecutor
    from tests.search.executor_searches import check_every_kind_of_search
    from tests.search.test_executors import deadly, run, statuses

    folder = Path(sys.argv[1])

    if __name__ == "__main__":
        (folder / "marks").mkdir(exist_ok=True)
        once = deadly(folder / "marks", 3, times=1)
        with MPIPoolExecutor() as pool:
            if not (folder / "forms").exists():
                check_every_kind_of_search(folder / "forms", pool)
            result = run(folder, once, executor=pool)
        assert statuses(result) == ["ok"] * 8
        assert len({doc["owner"] for doc in result.trials.trials}) >= 2
        assert len(list((folder / "marks").glob("3-*"))) == 2
    """
    under = {"before": [program, "-n", "3"], "module": ["-m", "mpi4py.futures"]}
    run_program(tmp_path, script, status=None, **under)
    assert (tmp_path / "forms").exists(), (tmp_path / "output.txt").read_text()[-3000:]
    assert list((tmp_path / "marks").glob("3-*")), (tmp_path / "output.txt").read_text()[-3000:]
    run_program(tmp_path, script, **under)


def run_program(
    folder: Path,
    script: str,
    before: Sequence[str] = (),
    module: Sequence[str] = (),
    status: int | None = 0,
    **variables: str,
) -> None:
    """Run a program with `folder` as its argument; assert that it exits with `status`, if given."""
    path, output = folder / "program.py", folder / "output.txt"
    path.write_text(textwrap.dedent(script))
    # A file, because workers that outlive the program would keep a pipe open.
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*before, sys.executable, *module, str(path), str(folder)],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout=600)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode == NO_CLUSTER:
        pytest.skip(f"the cluster does not start on this machine: {output.read_text()[-200:]}")
    assert status in (None, process.returncode), output.read_text()[-3000:]
