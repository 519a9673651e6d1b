"""Makes the record of a run from its events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rag.flow.place import Place
from rag.flow.run.events import (
    Custom,
    Event,
    ModelCalled,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    Reused,
    Token,
    Warned,
)
from rag.flow.run.record import Call, Occurrence, RunRecord

MOST = 10_000
"""Occurrences that a record holds; a longer run is cut, and says so."""


class Recorder:
    """Takes events from any thread.

    Args:
        record: What they are added to.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._lock = threading.Lock()
        self._by_place: dict[Place, Occurrence] = {}

    def __call__(self, event: Event) -> None:
        """Add an event."""
        add = _ADDS.get(type(event))
        if add is None:
            return
        with self._lock:
            one = self._occurrence(event)
            if one is not None:
                add(one, event)
            if len(event.place) == 1 and isinstance(event, NodeFinished | Reused):
                self.record.channels.update(event.writes)

    def _occurrence(self, event: Event) -> Occurrence | None:
        found = self._by_place.get(event.place)
        if found is None:
            if len(self._by_place) >= MOST:
                self.record.truncated += isinstance(event, NodeStarted | Reused)
                return None
            found = self._by_place[event.place] = Occurrence(event.place, event.time)
            self.record.occurrences.append(found)
        return found


def _started(one: Occurrence, event: Any) -> None:
    one.inputs = event.reads
    one.attempts += 1


def _finished(one: Occurrence, event: Any) -> None:
    one.writes, one.seconds, one.source = event.writes, event.seconds, None


def _reused(one: Occurrence, event: Any) -> None:
    one.writes, one.seconds, one.source = event.writes, 0.0, event.source


def _failed(one: Occurrence, event: Any) -> None:
    one.error, one.seconds = str(event.error), event.seconds


def _streamed(one: Occurrence, event: Any) -> None:
    one.text += event.text


def _called(one: Occurrence, event: Any) -> None:
    one.calls.append(Call(**{name: getattr(event, name) for name in Call.__dataclass_fields__}))


def _emitted(one: Occurrence, event: Any) -> None:
    one.events.append((event.name, event.data))


def _warned(one: Occurrence, event: Any) -> None:
    one.warnings.append(event.message)


_ADDS: dict[type[Event], Callable[[Occurrence, Any], None]] = {
    NodeStarted: _started,
    NodeFinished: _finished,
    Reused: _reused,
    NodeFailed: _failed,
    Token: _streamed,
    ModelCalled: _called,
    Custom: _emitted,
    Warned: _warned,
}
