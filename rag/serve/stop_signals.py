"""Hearing that the process is to stop, whichever ASGI server runs in it.

A server tells its application so only when all connections are closed. What waits for the end of
runs, or follows those of other processes, has to know before.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType


def on_stop_signal(call: Callable[[], None]) -> Callable[[], None]:
    """Call something in the running event loop at SIGTERM or SIGINT, besides who handles them now.

    Nothing is done outside of the main thread, and for a signal that nobody handles.

    Args:
        call: What is called, once for each signal.

    Returns:
        Ends this.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    earlier = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        before = earlier[signal.Signals(number)]
        if callable(before):
            before(number, frame)

    mine = [one for one, before in earlier.items() if callable(before)]
    for one in mine:
        signal.signal(one, handle)

    def end() -> None:
        for one in mine:
            if signal.getsignal(one) is handle:
                signal.signal(one, earlier[one])

    return end
