"""What every endpoint does: bounded bodies, errors as problems, headers, a count."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from rag.serve.http.problems import Problem, problem_of, respond
from rag.serve.http.streams import ClientLeftError

if TYPE_CHECKING:
    from rag.serve.service import Service

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not set its own."""
CLIENT_LEFT = 499
"""Nobody reads it; it is for the metrics."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Respond = Callable[[Problem], Response]


def route_class(service: Service, limit: int, answer: Respond = respond) -> type[APIRoute]:
    """The class of a group of routes.

    Args:
        service: Started by the first request, where no lifespan did it.
        limit: Bytes of a body.
        answer: Shows a problem as this group's clients expect it.
    """

    class Route(APIRoute):
        def get_route_handler(self) -> Handler:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    await service.start()
                    response = await inner(_bounded(request, limit))
                except ClientLeftError:
                    response = Response(status_code=CLIENT_LEFT)
                except Exception as error:  # noqa: BLE001 - told to the client
                    response = answer(_problem(error))
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                service.metrics.requests.labels(
                    self.path_format, request.method, response.status_code
                ).inc()
                return response

            return handle

    return Route


def _problem(error: Exception) -> Problem:
    """The problem; a `Problem` that came through a body's reader is wrapped by FastAPI."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, Problem):
            return inner
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Problem(422, "invalid_request", str(first["msg"]), where=where, fix="see /docs")
    if isinstance(error, HTTPException):
        return Problem(
            error.status_code, "http_error", str(error.detail), headers=dict(error.headers or {})
        )
    return problem_of(error)


def _bounded(request: Request, limit: int) -> Request:
    """The request, whose body may not be longer than so many bytes.

    Raises:
        Problem: 413, it says so itself; else as soon as too much has come.
    """

    def too_large() -> Problem:
        return Problem(
            413, "too_large", f"the body is longer than {limit:,} bytes", fix="send less"
        )

    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > limit:
        raise too_large()
    receive: Receive = request.receive
    came = 0

    async def bounded() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > limit:
            raise too_large()
        return message

    return Request(request.scope, bounded)
