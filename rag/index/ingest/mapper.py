"""Work shared out among workers: results in order, within bounds, a lost worker's part done again.

Who has the work done sees one iterator, wherever the workers are: threads, processes, machines. A
method of the work is a pure function of its item, so doing an item twice changes nothing, and what
an interrupted attempt had given already is not given again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

TRIES = 3
"""Workers that an item may cost, by killing them say, until it is given up."""


class Worker(Protocol):
    """Somebody who does the work for one item at a time."""

    def wait(self) -> None:
        """Until it can work.

        Raises:
            WorkerLost: It was stopped before.
        """

    def run(self, method: str, item: Any) -> Generator[Any, None, None]:
        """The results of a method of the work.

        Raises:
            WorkerLost: The worker is gone; whether it had done anything is unknown.
            Exception: What the method raised.
        """

    def stop(self) -> None:
        """End whatever it does, which raises `WorkerLost` there; from any thread."""

    def close(self) -> None:
        """Release what it holds, on the thread that runs it."""


class WorkerLost(Exception):  # noqa: N818 - handled by who shares out: the item is done again
    """A worker is gone, and why."""


@dataclass(frozen=True)
class Lost:
    """An item that cost every worker that took it.

    Attributes:
        item: What was to be done.
        reason: What became of the last worker.
    """

    item: Any
    reason: str


class Mapper:
    """Shares out items among workers. Close it, or use it as a context.

    Args:
        start: Makes a worker; called on a thread of its own for each, and again for a lost one.
        count: Workers.
    """

    def __init__(self, start: Callable[[], Worker], count: int = 1) -> None:
        self._start = start
        self._changed = threading.Condition()
        self._streams: list[_Stream] = []
        self._closed = False
        self._failure: BaseException | None = None
        self._workers: set[Worker] = set()
        self._threads = [
            threading.Thread(target=self._drive, name=f"rag-worker-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def map(
        self,
        method: str,
        items: Iterable[Any],
        *,
        weigh: Callable[[Any], int] = lambda _: 0,
        room: int = 64,
        urgent: bool = False,
    ) -> Generator[Any, None, None]:
        """The results of all items, in the items' order.

        Work begins at once and goes on while the caller works on earlier results.

        Args:
            method: Of the work; gives an iterator of results for an item.
            items: What there is to do; taken on the workers' threads, one at a time.
            weigh: Size of a result, beside the 1 that each counts.
            room: Nothing new is begun while results of this size wait.
            urgent: Before what other calls have begun to share out.

        Yields:
            Results; `Lost` for an item that no worker survives.

        Raises:
            BaseException: Whatever the work raised, in its turn.
        """
        stream = _Stream(self._changed, method, iter(items), weigh, room)
        with self._changed:
            self._streams.insert(0 if urgent else len(self._streams), stream)
            self._changed.notify_all()
        return self._results(stream)

    def _results(self, stream: _Stream) -> Generator[Any, None, None]:
        try:
            while (task := self._first(stream)) is not None:
                if task.results:
                    yield stream.take(task)
                elif task.failure is not None:
                    raise task.failure
                else:
                    stream.finish()
        finally:
            with self._changed:
                stream.cancelled = True
                self._streams.remove(stream)
                self._changed.notify_all()

    def _first(self, stream: _Stream) -> _Task | None:
        """The first item that has not given all, when it has something; None: there is none."""
        with self._changed:
            while not self._closed:
                if stream.tasks and (stream.tasks[0].results or stream.tasks[0].done):
                    return stream.tasks[0]
                if not stream.tasks and stream.exhausted:
                    return None
                if self._failure is not None:
                    raise self._failure
                self._changed.wait()
        raise RuntimeError("the workers were stopped")

    def close(self) -> None:
        """Stop all workers."""
        with self._changed:
            self._closed = True
            for stream in self._streams:
                stream.cancelled = True
            self._changed.notify_all()
            workers = list(self._workers)
        for worker in workers:
            worker.stop()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drive(self) -> None:
        """What the thread of a worker does."""
        worker: Worker | None = None
        try:
            while not self._closed:
                worker = worker or self._started()
                found = self._next()
                if found is not None and not self._done(worker, *found):
                    self._stopped(worker)
                    worker = None
        except WorkerLost:  # stopped before it could do anything
            pass
        except BaseException as error:  # noqa: BLE001 - raised again on the callers' threads
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        if worker is not None:
            self._stopped(worker)

    def _next(self) -> tuple[_Stream, _Task] | None:
        """What to do next, waited for; None: there will be nothing more."""
        with self._changed:
            while not self._closed:
                for stream in self._streams:
                    if (task := stream.begin()) is not None:
                        return stream, task
                self._changed.wait()
        return None

    def _done(self, worker: Worker, stream: _Stream, task: _Task) -> bool:
        """Have a worker do something; False: it is lost, and any other may do it."""
        try:
            self._attempt(worker, stream, task)
        except WorkerLost as lost:
            stream.again(task, str(lost))
            return False
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            stream.end(task, error)
        return True

    def _attempt(self, worker: Worker, stream: _Stream, task: _Task) -> None:
        given = task.given
        with closing(worker.run(stream.method, task.item)) as results:
            for number, result in enumerate(results):
                if number >= given and not stream.put(task, result):
                    break
        stream.end(task)

    def _started(self) -> Worker:
        worker = self._start()
        with self._changed:
            self._workers.add(worker)
            closed = self._closed
        if closed:
            worker.stop()
        worker.wait()
        return worker

    def _stopped(self, worker: Worker) -> None:
        with self._changed:
            self._workers.discard(worker)
        worker.close()


@dataclass(eq=False)
class _Task:
    """An item that was begun.

    Attributes:
        item: What is to be done.
        results: Not yet taken by the caller.
        given: Results so far, taken or not.
        tries: Workers that were lost over it.
        done: Whether there will be no more.
        failure: What the work raised.
    """

    item: Any
    results: deque[Any] = field(default_factory=deque)
    given: int = 0
    tries: int = 0
    done: bool = False
    failure: BaseException | None = None


@dataclass(eq=False)
class _Stream:
    """One call of `map`: items that are begun in order, and their results in order."""

    changed: threading.Condition
    method: str
    items: Iterator[Any]
    weigh: Callable[[Any], int]
    room: int
    tasks: deque[_Task] = field(default_factory=deque)
    lost: deque[_Task] = field(default_factory=deque)
    waiting: int = 0
    exhausted: bool = False
    cancelled: bool = False

    def begin(self) -> _Task | None:
        """The next item, if it may be begun; the caller holds the lock."""
        if self.cancelled:
            return None
        if self.lost:
            return self.lost.popleft()
        if self.exhausted or self.waiting >= self.room:
            return None
        if len(self.tasks) >= self.room:
            return None
        try:
            task = _Task(next(self.items))
        except StopIteration:
            self.exhausted = True
            self.changed.notify_all()
            return None
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            task = _Task(None, done=True, failure=error)
            self.exhausted = True
            self.tasks.append(task)
            self.changed.notify_all()
            return None
        self.tasks.append(task)
        return task

    def put(self, task: _Task, result: Any) -> bool:
        """Keep a result, when there is room; False: nobody wants it any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.cancelled or self._fits(task))
            if self.cancelled:
                return False
            task.results.append(result)
            task.given += 1
            self.waiting += self._size(result)
            self.changed.notify_all()
            return True

    def _size(self, result: Any) -> int:
        return 1 if isinstance(result, Lost) else 1 + self.weigh(result)

    def _fits(self, task: _Task) -> bool:
        """The caller waits for the first item's results: one of them always fits."""
        return self.waiting < self.room or (task is self.tasks[0] and not task.results)

    def again(self, task: _Task, reason: str) -> None:
        """An item's worker is lost: any worker does it again, unless it has cost too many."""
        with self.changed:
            task.tries += 1
            if task.tries < TRIES:
                self.lost.append(task)
            else:
                task.results.append(Lost(task.item, reason))
                self.waiting += 1
                task.done = True
            self.changed.notify_all()

    def end(self, task: _Task, failure: BaseException | None = None) -> None:
        """There are no more results of an item."""
        with self.changed:
            task.done, task.failure = True, failure
            self.changed.notify_all()

    def finish(self) -> None:
        """The first item has given all that it gives."""
        with self.changed:
            self.tasks.popleft()
            self.changed.notify_all()

    def take(self, task: _Task) -> Any:
        """The next result of an item that has one."""
        with self.changed:
            result = task.results.popleft()
            self.waiting -= self._size(result)
            self.changed.notify_all()
            return result
