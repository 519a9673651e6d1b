"""Who asks: the tenant of a request, by key or by the application's own authentication."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request

from rag.serve.http.problems import Problem
from rag.serve.keys import KeyFile, bearer, unauthorised
from rag.serve.tenants import DEFAULT

Tenant = Callable[..., Any]
"""A FastAPI dependency that returns the tenant's name, or raises."""

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def by_keys(path: Path) -> Tenant:
    """The tenant by API key.

    Raises:
        ConfigError: The file of keys is missing or broken.
    """
    keys = KeyFile(path)
    keys.records()

    def tenant(request: Request) -> str:
        given = bearer(request.headers.get("authorization"), request.headers.get("x-api-key"))
        found = keys.tenant(given)
        if found is None:
            raise unauthorised("the key is not valid")
        return found

    return tenant


def everybody() -> str:
    """One tenant for all: a server without keys."""
    return DEFAULT


def own_pages_only(request: Request) -> None:
    """Refuse what another site's page makes a browser send: its cookies would vouch for it.

    Raises:
        Problem: 403.
    """
    if request.method in _UNSAFE and request.headers.get("sec-fetch-site") == "cross-site":
        allowed = getattr(request.app.state, "cors", ())
        if request.headers.get("origin") not in allowed:
            raise Problem(
                403, "cross_site", "another site's page sent this", where="Sec-Fetch-Site",
                fix="allow its origin on the server: --cors ORIGIN",
            )  # fmt: skip
