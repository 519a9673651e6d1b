"""Identity: who asks, by API key or by the application's own authentication."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request

from rag.serve.errors import Problem
from rag.serve.keys import KeyFile
from rag.serve.tenants import DEFAULT

Tenant = Callable[..., Any]
"""A FastAPI dependency that returns the tenant's name, or raises."""


def by_keys(path: Path) -> Tenant:
    """The tenant by API key.

    Raises:
        ConfigError: The file of keys is missing or broken.
    """
    keys = KeyFile(path)
    keys.records()

    def tenant(request: Request) -> str:
        given = key_of(request.headers.get("authorization"), request.headers.get("x-api-key"))
        found = keys.tenant(given)
        if found is None:
            raise unauthorised("the key is not valid")
        return found

    return tenant


def everybody() -> str:
    """One tenant for all: a server without keys."""
    return DEFAULT


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
