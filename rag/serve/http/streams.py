"""Answers that end when their reader leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

BEAT = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the connection."""


class ClientLeftError(Exception):
    """The client closed the connection; nobody reads an answer."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled at once when the client leaves.

    Raises:
        ClientLeftError: It left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeftError
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events; the source is closed at once when the client leaves.

    Starlette's own streams notice that only with the next event, on servers of ASGI 2.4; a
    model may be silent for seconds before its first token.

    Args:
        source: The events as they are sent, without the blank line behind each.
    """

    media_type = "text/event-stream"

    def __init__(self, source: AsyncIterator[str], headers: dict[str, str] | None = None) -> None:
        self._source = source
        self.status_code, self.background, self.body = 200, None, b""
        self.init_headers(
            {"Cache-Control": "no-store", "X-Accel-Buffering": "no"} | (headers or {})
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except OSError:
            pass  # the client left while something was sent
        finally:
            for one in (sending, gone):
                one.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
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
            async for event in self._source:
                await write(event)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            beating.cancel()
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()


def event(name: str, data: Any) -> str:
    """One server-sent event with JSON data."""
    return f"event: {name}\ndata: {compact(data)}"


def compact(data: Any) -> str:
    """JSON on one line."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
