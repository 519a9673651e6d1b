"""`/mcp`: pipelines as tools of the Model Context Protocol, over streamable HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rag.serve.http.addresses import Address, addresses
from rag.serve.http.authentication import authenticated
from rag.serve.http.route import Endpoints
from rag.serve.identity.identity import Identity
from rag.serve.mcp import mcp_server
from rag.serve.service import Service

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager


def routes(shared: Endpoints, service: Service) -> APIRouter:
    """`/mcp`. Every request is authenticated, and none has a session."""
    router = shared.router(include_in_schema=False)
    sessions = _Sessions(service, shared.max_body)

    @router.api_route("/mcp", methods=["GET", "POST", "DELETE"])
    async def mcp(request: Request) -> Response:
        return _Answer(await sessions.manager())

    return router


class _Answer(Response):
    """What the SDK answers to a request."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


class _Sessions:
    """The SDK's part, which belongs to the task that starts it, and ends with the service."""

    def __init__(self, service: Service, max_body: int) -> None:
        self._service, self._max_body = service, max_body
        self._started: asyncio.Future[StreamableHTTPSessionManager] | None = None

    async def manager(self) -> StreamableHTTPSessionManager:
        """The running manager; started with the first request."""
        if self._started is None:
            self._started, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
            task = asyncio.create_task(self._run(self._started, stop))

            async def end() -> None:
                stop.set()
                await task
                self._started = None

            self._service.on_stop.append(end)
        return await asyncio.shield(self._started)

    async def _run(
        self, started: asyncio.Future[StreamableHTTPSessionManager], stop: asyncio.Event
    ) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        def who(context: ServerRequestContext[Any, Request]) -> Identity:
            assert context.request is not None  # noqa: S101 - over HTTP there is one
            return authenticated(context.request)

        def link(
            context: ServerRequestContext[Any, Request], user: Identity, pipeline: str
        ) -> Address:
            assert context.request is not None  # noqa: S101 - over HTTP there is one
            links, url = self._service.links, settings.public_url
            return addresses(context.request, "/mcp", user, pipeline, links, url)

        settings = self._service.settings
        manager = StreamableHTTPSessionManager(
            mcp_server(self._service, who, link),
            stateless=True,
            max_request_body_size=self._max_body,
            # Hosts and origins are checked by the rules of all endpoints.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        async with manager.run():
            started.set_result(manager)
            await stop.wait()
