"""Workers on a Ray cluster (the extra `ray`).

Each is an actor with a processor of its own. The cluster's machines have this package and what the
pipeline's models need installed, and reach the files and the models by the names that they have
here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from rag.errors import ConfigError
from rag.extras import require
from rag.index.ingest.mapper import Mapper, WorkerLost
from rag.index.ingest.workers import Open

AHEAD = 8
"""Results of an item that wait on the cluster until they are taken."""


def ray_mapper(address: str, open_work: Open) -> Mapper:
    """A worker for each processor of a cluster.

    Args:
        address: `ray://HOST:PORT`, or `ray`: the cluster that this machine belongs to or that
            `RAY_ADDRESS` names; where there is none, one is started on this machine.
        open_work: Opens the work there.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = require("ray", "ray", where="--on")
    if not ray.is_initialized():
        try:
            ray.init(
                address=None if address == "ray" else address,
                log_to_driver=False, configure_logging=False,
            )  # fmt: skip
        except Exception as error:  # of every kind
            raise ConfigError(
                f"the Ray cluster cannot be reached: {error}",
                where=address,
                fix="check the address, or start a cluster with ray start --head",
            ) from error
    count = max(int(ray.cluster_resources().get("CPU", 1)), 1)
    return Mapper(lambda: RayWorker(open_work), count)


class RayWorker:
    """An actor of a Ray cluster.

    Args:
        open_work: See `Open`.
    """

    def __init__(self, open_work: Open) -> None:
        self._ray = require("ray", "ray")
        kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        self._actor = kind.remote(open_work)

    def wait(self) -> None:
        """See `Worker.wait`: until the cluster has a processor for it."""
        try:
            self._ray.get(self._actor.here.remote())
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(_reason(error)) from error

    def run(self, method: str, item: Any) -> Generator[Any, None, None]:
        """See `Worker.run`."""
        how = {"num_returns": "streaming", "_generator_backpressure_num_objects": AHEAD}
        try:
            for result in self._actor.run.options(**how).remote(method, item):
                yield self._ray.get(result)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(_reason(error)) from error

    def stop(self) -> None:
        """See `Worker.stop`."""
        self._ray.kill(self._actor)

    def close(self) -> None:
        """See `Worker.close`."""
        self._ray.kill(self._actor)


class _Actor:
    def __init__(self, open_work: Open) -> None:
        self._open, self._work = open_work, None

    def here(self) -> None:
        """Return when it is there."""

    def run(self, method: str, item: Any) -> Iterator[Any]:
        self._work = self._work or self._open()
        yield from getattr(self._work, method)(item)


def _reason(error: Exception) -> str:
    """What Ray says, in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
