"""Waiting for what another thread or process does."""

from __future__ import annotations

import threading
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that happens elsewhere."""
    done = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        done.wait(0.005)
    raise AssertionError("it did not happen in time")
