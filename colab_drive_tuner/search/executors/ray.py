"""`ray_executor`: a Ray cluster as a `concurrent.futures.Executor`."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from colab_drive_tuner.errors import MissingExtraError, UsageError


class RayExecutor(Executor):
    """Ray's workers; `ray_executor` makes one."""

    def __init__(self, ray: Any, options: dict[str, Any]) -> None:
        self._ray, self._options = ray, options
        self._remote: dict[Callable[..., Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """See `concurrent.futures.Executor.submit`; Ray runs nothing again by itself."""
        remote = self._remote.get(fn)
        if remote is None:
            remote = self._ray.remote(fn).options(**{"max_retries": 0} | self._options)
            self._remote[fn] = remote
        future: Future[Any] = remote.remote(*args, **kwargs).future()
        return future

    def renew(self) -> None:
        """Ray replaces its workers by itself."""

    def width(self) -> int | None:
        """How many tasks with these options the cluster can run at once."""
        room = self.workers()
        return None if room is None else max(1, room)  # one: a cluster may grow when asked

    def workers(self) -> int | None:
        """How many tasks fit onto the nodes that are alive; None where they need nothing."""
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
    """An Executor on a Ray cluster, for `resume_search(..., executor=)`.

    Where `ray.init()` was not called yet, it is, with Ray's defaults: the cluster that
    `RAY_ADDRESS` names, else one on this machine.

    Args:
        remote_options: What `ray.remote` takes for each trial, such as `num_cpus=2, num_gpus=1`.

    Raises:
        UsageError: `max_retries` is given: trials are counted and run again from here.
        MissingExtraError: Ray is not installed.

    Example:
        ```python
        cdt.resume_search(model, data, name="wide", max_evals=200,
                          executor=cdt.ray_executor(num_gpus=1))
        ```
    """
    if "max_retries" in remote_options:
        raise UsageError("max_retries is not Ray's here: pass max_attempts= to the search.")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "ray_executor() needs Ray: pip install 'colab-drive-tuner[ray]'."
        ) from error
    if not ray.is_initialized():
        ray.init()
    return RayExecutor(ray, remote_options)
