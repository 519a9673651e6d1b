"""The metrics of all processes of a server, put together by whichever is asked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder of their files."""


def of_all_processes(folder: Path) -> bytes:
    """The metrics that processes have left in a folder, in Prometheus' text format.

    What dead ones counted is in the sums; what ran in them and what they held is not. Memory,
    processor time and open files are each living process's own, with a label `pid`.
    """
    alive = []
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("*.db")}:
        if _lives(pid):
            alive.append(pid)
        else:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    registry.register(_Processes(sorted(alive)))
    return generate_latest(registry)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the number is another user's process now
        return False
    return True


class _Processes(Collector):
    """`process_*` of several processes, told apart by `pid`."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = pids

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        for pid in self._pids:
            for one in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                metric = found.setdefault(one.name, Metric(one.name, one.documentation, one.type))
                for sample in one.samples:
                    metric.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        return found.values()
