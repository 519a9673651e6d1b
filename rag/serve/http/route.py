"""What all endpoints share: who asks and from where, bounded bodies, errors, headers, counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.serve.errors import Problem, problem_of, respond
from rag.serve.http.authentication import authentication, of_request
from rag.serve.http.browsers import check_host, check_origin
from rag.serve.http.cors import let_read
from rag.serve.http.disconnect import ClientLeftError
from rag.serve.http.observed import observed
from rag.serve.http.validation import invalid_request
from rag.serve.identity.identity import Identify
from rag.serve.observe.exchange import Ended

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not set its own."""
CLIENT_LEFT = 499
"""Nobody reads it; it is for metrics and logs."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Respond = Callable[[Problem], Response]


@dataclass(frozen=True)
class Endpoints:
    """What the groups of endpoints share.

    Args:
        start: Starts the service, where no lifespan did it.
        ended: Takes each request when its answer is sent.
        identify: Says who asks: a FastAPI dependency.
        max_body: Bytes of a body, where a group has no other limit.
        origins: Other sites' pages that may send requests.
        hosts: Names of the server; None: see `check_host`.
    """

    start: Callable[[], Awaitable[None]]
    ended: Ended
    identify: Identify
    max_body: int
    origins: Sequence[str] = ()
    hosts: Sequence[str] | None = None

    def router(
        self,
        *,
        public: bool = False,
        max_body: int | None = None,
        respond: Respond = respond,
        **options: Any,
    ) -> APIRouter:
        """A router for a group of endpoints.

        Args:
            public: Anybody may call them: nobody is asked who it is.
            max_body: Bytes of a body.
            respond: Encodes a problem as this group's clients expect it.
            options: Of FastAPI's router.
        """
        made: APIRouter = APIRouter(
            route_class=_route_class(self, public, max_body or self.max_body, respond),
            **options,
        )
        return made


def _route_class(shared: Endpoints, public: bool, limit: int, respond: Respond) -> type[APIRoute]:
    class Route(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            app: ASGIApp = super().handle
            if scope["method"] in (self.methods or ()):  # else there is another route, or none
                app = observed(app, self.path_format, shared.ended)
            await app(scope, receive, send)

        def get_route_handler(self) -> Handler:
            inner, fields = super().get_route_handler(), _fields(self)
            authenticate = authentication(shared.identify)

            async def handle(request: Request) -> Response:
                try:
                    check_host(request, shared.hosts)
                    check_origin(request, shared.origins)
                    if not public:
                        await authenticate(request)
                    await shared.start()
                    response = await inner(_bounded(request, limit))
                except ClientLeftError:
                    response = Response(status_code=CLIENT_LEFT)
                except Exception as error:  # noqa: BLE001 - becomes the answer
                    problem = _problem(error, fields)
                    response = respond(problem.seen_by(of_request(request)))
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                let_read(response, request, shared.origins)
                return response

            return handle

    return Route


def _fields(route: APIRoute) -> Collection[str]:
    """The fields of the route's body."""
    kind = route.body_field.field_info.annotation if route.body_field else None
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _problem(error: Exception, fields: Collection[str]) -> Problem:
    """The error as a problem; one that a body's reader raised is wrapped by FastAPI."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, Problem):
            return inner
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, RequestValidationError):
        return invalid_request(error, fields)
    if isinstance(error, HTTPException):
        return Problem(
            error.status_code, "http_error", str(error.detail), headers=dict(error.headers or {})
        )
    return problem_of(error)


def _bounded(request: Request, limit: int) -> Request:
    """The request, whose body may have so many bytes at most.

    Raises:
        Problem: 413, by its own word; else as soon as more has come.
    """

    def too_large() -> Problem:
        return Problem(
            413, "too_large", f"the body is longer than {limit:,} bytes", fix="send less"
        )

    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large()
    receive: Receive = request.receive
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large()
        return message

    return Request(request.scope, bounded)
