"""Requests as logs and metrics see them: from their arrival to the last byte of the answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.serve.http.authentication import of_request
from rag.serve.observe.exchange import CURRENT, Ended, Exchange


def observed(app: ASGIApp, route: str, ended: Ended) -> ASGIApp:
    """The application, each of whose requests is noted when its answer is sent.

    Args:
        app: The application of a route.
        route: Its path, with the names of its parts.
        ended: Takes what became of a request.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        exchange = Exchange(
            scope["method"], route, scope["path"], client=client[0] if client else None
        )

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            await send(message)

        token = CURRENT.set(exchange)
        try:
            await app(scope, receive, noting)
        finally:
            CURRENT.reset(token)
            identity = of_request(Request(scope))
            exchange.user = identity.user if identity else None
            ended(exchange)

    return run
