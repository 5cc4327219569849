"""`ray_executor`: a Ray cluster as a `concurrent.futures.Executor`."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from colab_drive_tuner.errors import UsageError, optional_import


class RayExecutor(Executor):
    """A Ray cluster's workers; created by `ray_executor`."""

    def __init__(self, ray: Any, options: dict[str, Any]) -> None:
        self._ray, self._options = ray, options
        self._remote: dict[Callable[..., Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """See `concurrent.futures.Executor.submit`; Ray's own retries are disabled."""
        remote = self._remote.get(fn)
        if remote is None:
            remote = self._ray.remote(fn).options(**{"max_retries": 0} | self._options)
            self._remote[fn] = remote
        future: Future[Any] = remote.remote(*args, **kwargs).future()
        return future

    def restart(self, *, only_broken: bool = False) -> None:
        """Do nothing: Ray replaces its workers itself."""

    @property
    def num_workers(self) -> int | None:
        """The number of tasks with these options that the cluster can run at once."""
        count = self.workers()
        return None if count is None else max(1, count)  # at least 1: a cluster may scale up

    def workers(self) -> int | None:
        """Return the number of tasks that fit on live nodes; None if tasks need no resources."""
        options = {name: value for name, value in self._options.items() if value is not None}
        needs = {
            "CPU": options.get("num_cpus", 1),
            "GPU": options.get("num_gpus", 0),
            "memory": options.get("memory", 0),
        } | options.get("resources", {})
        needs = {kind: need for kind, need in needs.items() if need}
        if not needs:
            return None
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(
            min(int(has.get(kind, 0) / need) for kind, need in needs.items()) for has in nodes
        )

    def __repr__(self) -> str:
        return "ray_executor(...)"


def ray_executor(**remote_options: Any) -> RayExecutor:
    """Return an Executor on a Ray cluster, for `resume_search(..., executor=)`.

    Calls `ray.init()` with Ray's defaults, unless it was called before: this connects to the
    cluster at `RAY_ADDRESS`, or starts one on this machine.

    Args:
        remote_options: Options of `ray.remote` for each trial, such as `num_cpus=2, num_gpus=1`.

    Raises:
        UsageError: `max_retries` is given; the search itself counts and retries trials.
        MissingExtraError: Ray is not installed.

    Example:
        ```python
        cdt.resume_search(model, data, name="wide", max_evals=200,
                          executor=cdt.ray_executor(num_gpus=1))
        ```
    """
    if "max_retries" in remote_options:
        raise UsageError("Ray must not retry trials: pass max_attempts= to the search instead.")
    with optional_import("ray_executor() needs Ray: pip install 'colab-drive-tuner[ray]'."):
        import ray
    if not ray.is_initialized():
        ray.init()
    return RayExecutor(ray, remote_options)
