"""Uvicorn, stopping as the service wants it: nothing new, what was accepted to its end."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from rag.serve.service import Service


class Server(uvicorn.Server):
    """Stops in order: refuses what comes, finishes what was accepted, tells whom it cannot serve.

    Args:
        config: Of uvicorn.
        service: The one behind the application.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when it is to stop."""
        self._service.gate.drain()
        loop, seconds = asyncio.get_running_loop(), self._service.settings.shutdown_seconds
        late = loop.call_later(seconds, self._service.interrupt)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
