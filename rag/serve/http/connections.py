"""Bounds of connections: how many may be open, and how long a request may take to arrive."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from rag.serve.settings.settings import Settings

RESERVED = 256
"""Descriptors that are left for files, indexes and clients of other servers."""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\n"
_EMPTY = b"Content-Length: 0\r\nConnection: close\r\n\r\n"


class BoundedConnection(H11Protocol):
    """A connection of uvicorn's that is closed if a request does not arrive.

    A header has to be there after `header_timeout` seconds, however its bytes come; of a body
    some bytes after every `body_timeout` seconds in which the application waits for them. One
    connection more than `most` is closed at once. None of this is logged: anybody could fill the
    log by it.
    """

    header_timeout: float
    body_timeout: float
    most: int

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._close(_BUSY)
        else:
            self._expect(self.header_timeout)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self._is_awaited_body():
            self._expect(self.body_timeout)
        elif self._is_answered():
            self._cancel()
        elif self._late is None:
            self._expect(self.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._cancel()
        super().connection_lost(exc)

    def _is_answered(self) -> bool:
        """Whether a request goes on whose header is there."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_awaited_body(self) -> bool:
        return self._is_answered() and self.cycle.more_body

    def _expect(self, seconds: float) -> None:
        self._cancel()
        self._late = self.loop.call_later(seconds, self._over)

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _over(self) -> None:
        self._late = None
        if self.transport.get_protocol() is not self:
            return  # a WebSocket
        if not self._is_answered():
            self._close(_LATE)
        elif self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._expect(self.body_timeout)  # the application has not asked for more
        elif self.cycle.more_body:
            if not self.cycle.response_started:
                self.transport.write(_LATE + _EMPTY)
            self.transport.close()

    def _close(self, status: bytes) -> None:
        self.transport.write(status + _EMPTY)
        self.transport.close()


def bounded_connections(settings: Settings) -> type[H11Protocol]:
    """The class of a server's connections, for uvicorn's `http=`.

    The limit of open files is raised to what the system allows, and holds for connections as well.
    """
    most = min(settings.max_connections, max(_descriptors() - RESERVED, 1))
    bounds: dict[str, Any] = {
        "header_timeout": settings.header_timeout,
        "body_timeout": settings.body_timeout,
        "most": most,
    }
    return type("Connection", (BoundedConnection,), bounds)


def _descriptors() -> int:
    """Descriptors that this process may have open, its soft limit raised to the hard one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 2**31
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**31 if hard == resource.RLIM_INFINITY else hard
