"""Server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rag.serve.http.disconnect import ClientLeftError, while_connected

BEAT = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the connection."""


class EventStream(Response):
    """A stream of events; its source is closed at once when the client leaves.

    Starlette's own streams notice that only with the next event, on servers of ASGI 2.4; a
    model may be silent for seconds before its first token.

    Args:
        source: The events as they are sent, without the blank line behind each.
        headers: Further headers.
        close: Called at the end, also where no event was ever taken from the source.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: AsyncGenerator[str],
        headers: dict[str, str] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._close = source, close
        self.status_code, self.background, self.body = 200, None, b""
        self.init_headers(
            {"Cache-Control": "no-store", "X-Accel-Buffering": "no"} | (headers or {})
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        # An OSError says that the client left while something was sent.
        try:
            with contextlib.suppress(ClientLeftError, OSError):
                await while_connected(receive, self._send(send))
        finally:
            self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        lock = asyncio.Lock()

        async def write(text: str) -> None:
            async with lock:
                body = f"{text}\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})

        async def beat() -> None:
            while True:
                await asyncio.sleep(BEAT)
                await write(": still here")

        beating = asyncio.ensure_future(beat())
        try:
            async with aclosing(self._source) as events:
                async for event in events:
                    await write(event)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            beating.cancel()


def event(name: str, data: Any) -> str:
    """One event with JSON data."""
    return f"event: {name}\n{data_only(data)}"


def data_only(data: Any) -> str:
    """One event without a name, its data JSON on one line."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}"
