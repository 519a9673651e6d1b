"""Workers in this process and in others on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from typing import Any

from rag.index.ingest.mapper import WorkerLost

Open = Callable[[], Any]
"""Opens the work, whose methods are called; it can be pickled where workers are elsewhere."""


class ThreadWorker:
    """Works on the thread that calls it.

    Args:
        work: Shared with other threads.
    """

    def __init__(self, work: Any) -> None:
        self._work = work

    def wait(self) -> None:
        """See `Worker.wait`: at once."""

    def run(self, method: str, item: Any) -> Generator[Any, None, None]:
        """See `Worker.run`."""
        yield from getattr(self._work, method)(item)

    def stop(self) -> None:
        """See `Worker.stop`: what it does ends with the result at hand."""

    def close(self) -> None:
        """See `Worker.close`."""


class ProcessWorker:
    """A process of its own, which opens the work at its first item.

    It is started anew, and not forked: threads and locks of this process mean nothing to it. It
    ends when this process does, however.

    Args:
        open_work: See `Open`.
        threads: Processor threads that its models may use.
    """

    def __init__(self, open_work: Open, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(
            target=serve, args=(there, open_work, threads), name="rag-worker", daemon=True
        )
        self._process.start()
        there.close()

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    def wait(self) -> None:
        """See `Worker.wait`: at once."""

    def run(self, method: str, item: Any) -> Generator[Any, None, None]:
        """See `Worker.run`."""
        finished = False
        try:
            self._pipe.send((method, item))
            while True:
                kind, value = self._pipe.recv()
                if kind == "result":
                    yield value
                    continue
                finished = True
                if kind == "error":
                    raise value
                return
        except (EOFError, OSError) as error:
            if finished:  # what the work raised
                raise
            raise WorkerLost(self._ending()) from error
        finally:
            if not finished:  # results that nobody reads would be taken for those of another item
                self.close()

    def _ending(self) -> str:
        self._process.join(10)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"

    def stop(self) -> None:
        """See `Worker.stop`."""
        self._process.kill()

    def close(self) -> None:
        """See `Worker.close`."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def serve(pipe: Connection, open_work: Open, threads: int) -> None:
    """What the process of a worker does: one item after another, until nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it stops it
    os.environ["OMP_NUM_THREADS"] = str(threads)
    work: Any = None
    try:
        while True:
            method, item = pipe.recv()
            try:
                work = work or open_work()
                for result in getattr(work, method)(item):
                    pipe.send(("result", result))
            except (BrokenPipeError, ConnectionError):
                return
            except Exception as error:  # noqa: BLE001 - raised again where the item came from
                pipe.send(("error", error))
            else:
                pipe.send(("end", None))
    except (EOFError, BrokenPipeError, ConnectionError):
        return
