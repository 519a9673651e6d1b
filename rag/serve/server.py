"""Uvicorn, shutting down in order: nothing new is accepted, what was accepted is finished."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from rag.serve.service import Service


class Server(uvicorn.Server):
    """Refuses what comes during a shutdown, finishes what was accepted, ends what takes too long.

    Args:
        config: Uvicorn's.
        service: The one behind the application.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        service, loop = self._service, asyncio.get_running_loop()
        service.drain()
        late = loop.call_later(service.settings.shutdown_timeout, service.answering.interrupt)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
