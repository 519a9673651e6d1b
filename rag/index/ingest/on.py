"""Where an ingest's work is done, as `rag ingest --on` says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from rag.errors import ConfigError
from rag.index.ingest.mapper import Mapper
from rag.index.ingest.ray_workers import ray_mapper
from rag.index.ingest.work import OpenWork
from rag.index.ingest.workers import ProcessWorker, ThreadWorker

_LOCAL = re.compile(r"(threads|processes)(?::([1-9]\d*))?")


def mapper_on(where: str, work: OpenWork) -> Mapper:
    """Workers that parse and embed.

    Args:
        where: `threads:4`, `processes:4`; without a number, one for each processor. `ray`, or
            `ray://HOST:PORT`: see `rag.index.ingest.ray_workers`.
        work: What they do.

    Raises:
        ConfigError: There is no such place.
    """
    if where == "ray" or where.startswith("ray://"):
        return ray_mapper(where, work)
    local = _LOCAL.fullmatch(where)
    if local is None:
        raise ConfigError(
            f"{where!r} is no place for workers",
            where="--on",
            fix="write threads:N, processes:N, ray, or ray://HOST:PORT",
        )
    count = int(local[2] or os.cpu_count() or 1)
    return Mapper(_threads(work) if local[1] == "threads" else _processes(work, count), count)


def _threads(work: OpenWork) -> Callable[[], ThreadWorker]:
    opened = work()
    return lambda: ThreadWorker(opened)


def _processes(work: OpenWork, count: int) -> Callable[[], ProcessWorker]:
    threads = max((os.cpu_count() or 1) // count, 1)
    return lambda: ProcessWorker(work, threads)
