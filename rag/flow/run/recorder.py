"""Makes the record of a run from its events."""

from __future__ import annotations

import threading
from collections.abc import Mapping
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
        with self._lock:
            self._add(event)

    def _add(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case per event
        match event:
            case NodeStarted(reads=reads):
                if (one := self._occurrence(event)) is not None:
                    one.inputs = reads
                    one.attempts += 1
            case NodeFinished(writes=writes, seconds=seconds):
                self._wrote(event, writes, seconds, None)
            case Reused(writes=writes, source=source):
                self._wrote(event, writes, 0.0, source)
            case NodeFailed(error=error, seconds=seconds):
                if (one := self._occurrence(event)) is not None:
                    one.error, one.seconds = str(error), seconds
            case Token(text=text):
                if (one := self._occurrence(event)) is not None:
                    one.text += text
            case ModelCalled():
                if (one := self._occurrence(event)) is not None:
                    names = Call.__dataclass_fields__
                    one.calls.append(Call(**{name: getattr(event, name) for name in names}))
            case Custom(name=name, data=data):
                if (one := self._occurrence(event)) is not None:
                    one.events.append((name, data))
            case Warned(message=message):
                if (one := self._occurrence(event)) is not None:
                    one.warnings.append(message)

    def _wrote(
        self, event: Event, writes: Mapping[str, Any], seconds: float, source: str | None
    ) -> None:
        one = self._occurrence(event)
        if one is not None:
            one.writes, one.seconds, one.source = writes, seconds, source
        if len(event.place) == 1:
            self.record.channels.update(writes)

    def _occurrence(self, event: Event) -> Occurrence | None:
        found = self._by_place.get(event.place)
        if found is None:
            if len(self._by_place) >= MOST:
                self.record.truncated += isinstance(event, NodeStarted | Reused)
                return None
            found = self._by_place[event.place] = Occurrence(event.place, event.time)
            self.record.occurrences.append(found)
        return found
