"""Authentication of a request, before anything of its body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Depends, Response
from fastapi.routing import APIRoute
from starlette.requests import Request

from rag.serve.errors import Problem
from rag.serve.identity import ANONYMOUS, Identify, Identity, May, identity_of
from rag.serve.keys import KeyFile
from rag.serve.limits import check_permission

Authenticate = Callable[[Request], Awaitable[None]]
_STATE = "rag_identity"


def by_keys(path: Path) -> Identify:
    """The dependency that identifies by API key.

    Raises:
        ConfigError: The file of keys is missing or broken.
    """
    keys = KeyFile(path)
    keys.records()

    def identity(request: Request) -> Identity:
        given = key_of(request.headers.get("authorization"), request.headers.get("x-api-key"))
        record = keys.find(given)
        if record is None:
            raise unauthorised("the key is not valid")
        return record.identity

    return identity


def anonymous() -> Identity:
    """The dependency of a server where nobody says who asks."""
    return ANONYMOUS


def authentication(identify: Identify) -> Authenticate:
    """What runs a FastAPI dependency, its own dependencies included, without reading a body.

    Args:
        identify: The dependency.
    """

    async def accept(request: Request, value: Any = Depends(identify)) -> Response:  # noqa: B008
        setattr(request.state, _STATE, identity_of(value))
        return Response()

    @cache
    def handler(application: Any) -> Callable[[Request], Awaitable[Response]]:
        # A route without a body: FastAPI's own way to run dependencies.
        route = APIRoute("/", accept, dependency_overrides_provider=application)
        return route.get_route_handler()

    async def authenticate(request: Request) -> None:
        await handler(request.app)(request)

    return authenticate


def of_request(request: Request) -> Identity | None:
    """Who asks; None before the request is authenticated, and where nobody is asked."""
    found: Identity | None = getattr(request.state, _STATE, None)
    return found


def identified(request: Request) -> Identity:
    """The dependency of endpoints for everybody who is authenticated."""
    found = of_request(request)
    assert found is not None  # noqa: S101 - `Route` has authenticated the request
    return found


def asks(request: Request) -> Identity:
    """The dependency of endpoints for those who may ask."""
    return _allowed(request, "ask")


def uploads(request: Request) -> Identity:
    """The dependency of endpoints for those who may upload."""
    return _allowed(request, "upload")


def administers(request: Request) -> Identity:
    """The dependency of endpoints for administrators."""
    return _allowed(request, "admin")


def _allowed(request: Request, what: May) -> Identity:
    identity = identified(request)
    check_permission(identity, what, request.url.path)
    return identity


def key_of(authorization: str | None, api_key: str | None = None) -> str:
    """The key of an `Authorization: Bearer` header, or of `X-API-Key`.

    Raises:
        Problem: 401, there is none.
    """
    kind, _, key = (authorization or "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    if api_key:
        return api_key.strip()
    raise unauthorised("a key is needed")


def unauthorised(what: str) -> Problem:
    """The answer to a request without a valid key."""
    return Problem(
        401,
        "unauthorised",
        what,
        where="Authorization",
        fix="send the header Authorization: Bearer KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )
