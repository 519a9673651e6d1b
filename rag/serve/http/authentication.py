"""Authentication of a request, before anything of its body is read."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Depends, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.requests import Request

from rag.serve.errors import Problem
from rag.serve.identity.identity import (
    ANONYMOUS,
    Identify,
    Identity,
    May,
    identity_of,
    single_user,
)
from rag.serve.identity.issuer import Issuer
from rag.serve.identity.keys import KeyFile, is_key
from rag.serve.identity.limits import check_permission
from rag.serve.identity.tokens import ALGORITHMS, Claims, TokenError, Tokens

Authenticate = Callable[[Request], Awaitable[None]]
_STATE = "rag_identity"
USUAL_CLAIMS = Claims()


def by_keys(path: Path, tokens: Tokens | None = None) -> Identify:
    """The dependency that identifies by API key.

    Args:
        path: The file of keys.
        tokens: What is sent in place of a key may be one of these.

    Raises:
        ConfigError: The file of keys is missing or broken.
    """
    keys = KeyFile(path)
    keys.records()

    async def identity(request: Request) -> Identity:
        given = key_of(request.headers.get("authorization"), request.headers.get("x-api-key"))
        record = keys.find(given)
        if record is not None:
            return record.identity
        if tokens is None or is_key(given):
            raise unauthorised("the key is not valid")
        # The issuer may have to be asked for its keys.
        return await run_in_threadpool(_of_token, tokens, given)

    return identity


def oidc(
    issuer: str,
    audience: str | Sequence[str],
    *,
    claims: Claims = USUAL_CLAIMS,
    algorithms: Sequence[str] = ALGORITHMS,
    leeway: float = 30.0,
) -> Identify:
    """The dependency that identifies by the tokens (JWT) of an OpenID Connect issuer.

    Its keys are found by its discovery document, are fetched again once an hour and when a token
    names one that is new, and count for a day while the issuer cannot be reached.

    Args:
        issuer: Its URL, exactly as tokens have it in `iss`.
        audience: Tokens must be meant for this, or one of these (`aud`).
        claims: Which claims of a token say who asks.
        algorithms: Signatures that are accepted.
        leeway: Seconds by which the issuer's clock may differ from this one's.

    Raises:
        ConfigError: PyJWT is not installed, the issuer is reached over plain HTTP outside of the
            own network, there is no audience, or such a signature is not accepted.
    """
    audience = [audience] if isinstance(audience, str) else audience
    return by_tokens(Tokens(Issuer(issuer), audience, claims, algorithms, leeway))


def by_tokens(tokens: Tokens) -> Identify:
    """The dependency that identifies by the tokens of an issuer."""

    def identity(request: Request) -> Identity:
        return _of_token(tokens, key_of(request.headers.get("authorization")))

    return identity


def _of_token(tokens: Tokens, given: str) -> Identity:
    try:
        return tokens.identity(given)
    except TokenError as error:
        raise unauthorised(str(error), 'Bearer error="invalid_token"') from error


async def anonymous(request: Request) -> Identity:
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

    direct = _direct(identify)

    async def authenticate(request: Request) -> None:
        if direct is None or identify in getattr(request.app, "dependency_overrides", ()):
            await handler(request.app)(request)
        else:
            setattr(request.state, _STATE, identity_of(await direct(request)))

    return authenticate


def _direct(identify: Identify) -> Callable[[Request], Awaitable[Any]] | None:
    """A dependency as a function of the request, where it needs nothing of FastAPI.

    That is so of a coroutine function that takes the request and nothing else. To run it as a
    dependency costs about as much as all else that is done before a question.
    """
    if identify is single_user:
        return _single_user
    if not inspect.iscoroutinefunction(identify):
        return None  # it may wait, so it needs a thread
    try:
        taken = list(inspect.signature(identify, eval_str=True).parameters.values())
    except NameError:
        return None  # FastAPI has its own ways with annotations that are not there at run time
    alone = [(one.annotation, one.kind) for one in taken]
    return identify if alone == [(Request, inspect.Parameter.POSITIONAL_OR_KEYWORD)] else None


async def _single_user(request: Request) -> Identity:
    return single_user()


def of_request(request: Request) -> Identity | None:
    """Who asks; None before the request is authenticated, and where nobody is asked."""
    found: Identity | None = getattr(request.state, _STATE, None)
    return found


async def identified(request: Request) -> Identity:
    """The dependency of endpoints for everybody who is authenticated."""
    return authenticated(request)


async def asks(request: Request) -> Identity:
    """The dependency of endpoints for those who may ask."""
    return _allowed(request, "ask")


async def uploads(request: Request) -> Identity:
    """The dependency of endpoints for those who may upload."""
    return _allowed(request, "upload")


async def administers(request: Request) -> Identity:
    """The dependency of endpoints for administrators."""
    return _allowed(request, "admin")


def _allowed(request: Request, what: May) -> Identity:
    identity = authenticated(request)
    check_permission(identity, what, request.url.path)
    return identity


def authenticated(request: Request) -> Identity:
    """Who sent a request that was authenticated."""
    found = of_request(request)
    assert found is not None  # noqa: S101 - `Route` has authenticated the request
    return found


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


def unauthorised(what: str, challenge: str = "Bearer") -> Problem:
    """The answer to a request without a valid key or token."""
    return Problem(
        401,
        "unauthorised",
        what,
        where="Authorization",
        fix="send the header Authorization: Bearer KEY",
        headers={"WWW-Authenticate": challenge},
    )
