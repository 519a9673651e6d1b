"""A request and what becomes of it, for the access log, the audit log and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from rag.serve.runs.table import ServedRun

log = logging.getLogger("rag.access")

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Ends of the routes that machines ask every few seconds; they are logged as details."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Those that metrics and spans name; any other is the client's choice."""


@dataclass
class Exchange:
    """A request and its answer.

    Args:
        method: `GET`, ...
        route: The path with the names of its parts: `/runs/{run}`.
        path: The path as it was asked for, without a query.
        client: The address that the request comes from.
        user: Who asks, once that is known.
        run: The run that it started.
        status: Of the answer; 500 where there was none.
    """

    method: str
    route: str
    path: str
    client: str | None = None
    user: str | None = None
    run: ServedRun | None = None
    status: int = 500
    started: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """Since it came."""
        return perf_counter() - self.started

    def log(self) -> None:
        """Write its line of the access log."""
        level = logging.DEBUG if self.route.endswith(tuple(PROBES)) else logging.INFO
        if not log.isEnabledFor(level):
            return
        about: dict[str, Any] = {
            "client": self.client,
            "user": self.user,
            "method": self.method,
            "path": quote(self.path),
            "status": self.status,
            "seconds": round(self.seconds, 6),
        }
        if self.run is not None:
            about |= {
                "run": self.run.id,
                "pipeline": self.run.pipeline,
                "run_status": self.run.status,
                "tokens": self.run.tokens,
            }
        line = " ".join(f"{name}={_word(value)}" for name, value in about.items())
        log.log(level, "%s", line, extra=about)


CURRENT: ContextVar[Exchange | None] = ContextVar("rag_exchange", default=None)
"""The request that is being answered."""

Ended = Callable[[Exchange], None]


def _word(value: object) -> str:
    """A value as one word of one line, whatever it holds."""
    if value is None:
        return "-"
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else ascii(text)
