"""Work done before its results are needed, on a thread, within bounds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

R = TypeVar("R")


class _End:
    """No result: there are no more."""


def prefetch(
    work: Iterable[R], *, weigh: Callable[[R], int], room: int
) -> Generator[R, None, None]:
    """Results preserving order, computed on a thread while the caller works on earlier ones.

    Closing the generator stops the thread after the result at hand.

    Args:
        work: Computes the results, one at a time, on the thread.
        weigh: Size of a result.
        room: None is begun while results of this size or more wait.

    Raises:
        BaseException: Whatever `work` raised, in its turn.
    """
    done: deque[R] = deque()
    failure: list[BaseException] = []
    changed = threading.Condition()
    end = _End()
    waiting, stopped, finished = 0, False, False

    def may_go_on() -> bool:
        return stopped or waiting < room

    def run() -> None:
        nonlocal waiting, finished
        try:
            results = iter(work)
            while True:
                with changed:
                    changed.wait_for(may_go_on)
                    if stopped:
                        return
                result = next(results, end)
                if isinstance(result, _End):
                    return
                with changed:
                    done.append(result)
                    waiting += 1 + weigh(result)
                    changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            failure.append(error)
        finally:
            with changed:
                finished = True
                changed.notify_all()

    thread = threading.Thread(target=run, name="rag-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: done or finished)
                if not done:
                    break
                result = done.popleft()
                waiting -= 1 + weigh(result)
                changed.notify_all()
            yield result
        if failure:
            raise failure[0]
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        thread.join()
