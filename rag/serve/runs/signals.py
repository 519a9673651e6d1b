"""Waking those who wait for something to happen."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from weakref import WeakValueDictionary


class Signals:
    """One signal for each name. Belongs to one event loop."""

    def __init__(self) -> None:
        self._events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    @property
    def awaited(self) -> Collection[str]:
        """Names whose signal somebody holds."""
        return list(self._events)

    def next(self, name: str) -> asyncio.Event:
        """The next signal of a name: get it, look whether something has happened, then wait."""
        return self._events.setdefault(name, asyncio.Event())

    def fire(self, name: str) -> None:
        """Wake all who hold the next signal of a name."""
        event = self._events.pop(name, None)
        if event is not None:
            event.set()
