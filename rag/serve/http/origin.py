"""Requests that other sites' pages make a browser send."""

from __future__ import annotations

from starlette.requests import Request

from rag.serve.errors import Problem

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def own_pages_only(request: Request) -> None:
    """Refuse what another site's page makes a browser send: the user's cookies would be with it.

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
