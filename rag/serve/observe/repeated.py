"""Logs that cannot be flooded: a line that is logged again and again is counted instead."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

OFTEN = 10
"""Times that a line is logged in a period."""
PERIOD = 60.0
"""Seconds."""
KNOWN = 1000
"""Different lines that are counted at a time."""


class Repeated(logging.Filter):
    """Lets a line through some times in a period, and says later how often it was held back.

    Lines are the same that come from one place in the code, whatever their values. Those of
    requests and of the audit (`rag.access`, `rag.audit`) all count, and are let through.

    Args:
        now: Seconds, by a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._lines: OrderedDict[tuple[str, int], list[float]] = OrderedDict()
        """Place to: when its period began, times in it, times held back."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is logged."""
        if record.name.startswith(("rag.access", "rag.audit")):
            return True
        place = (record.pathname, record.lineno)
        now = self._now()
        line = self._lines.setdefault(place, [now, 0, 0])
        self._lines.move_to_end(place)
        if len(self._lines) > KNOWN:
            self._lines.popitem(last=False)
        if now - line[0] >= PERIOD:
            if line[2]:
                record.msg = f"{record.getMessage()} (and {line[2]:.0f} times before)"
                record.args = ()
            line[:] = [now, 0, 0]
        line[1] += 1
        if line[1] > OFTEN:
            line[2] += 1
            return False
        return True
