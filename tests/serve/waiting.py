"""Waiting for what another thread or process does."""

from __future__ import annotations

import threading
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that happens elsewhere, which a busy machine may do late.

    It is asked for seldomer the longer it takes: to ask takes the time of what is waited for.
    """
    done, pause, waited = threading.Event(), 0.005, 0.0
    while not condition():
        assert waited < seconds, "it did not happen in time"
        done.wait(pause)
        waited += pause
        pause = min(pause * 1.2, 0.1)
