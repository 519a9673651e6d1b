"""Which pages may make a browser send requests, and under which names the server is reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from rag.serve.errors import Problem

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def check_host(request: Request, hosts: Iterable[str] | None) -> None:
    """Refuse a request to a name that is not the server's.

    A page on a foreign name that resolves to this server (DNS rebinding) counts as the server's
    own for a browser.

    Args:
        request: Says the name in `Host`.
        hosts: The server's names, `*` for a part; None: addresses, and names without a dot, which
            nobody can own in the public DNS.

    Raises:
        Problem: 421.
    """
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if hosts is None:
        fine = "." not in name or name.endswith(".localhost") or _is_address(name)
    else:
        fine = any(fnmatch(name, one.lower()) for one in hosts)
    if not fine:
        raise Problem(
            421, "unknown_host", f"this server does not answer under the name {name[:120]!r}",
            where="Host", fix="name it on the server: hosts=[...], or rag serve --allow-host NAME",
        )  # fmt: skip


def check_origin(request: Request, origins: Iterable[str]) -> None:
    """Refuse what another site's page makes a browser send: the user's cookies would be with it.

    Args:
        request: What changes something says in `Origin` which page sent it.
        origins: Those that may, beside the server's own and those that the application allows
            (`CORSMiddleware`).

    Raises:
        Problem: 403.
    """
    if request.method not in UNSAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site == "same-origin" or (origin is None and site in (None, "none")):
        return
    if origin is not None and (
        is_allowed(request, origin, origins)
        or (site is None and urlsplit(origin).netloc == request.headers.get("host"))
    ):
        return
    raise Problem(
        403, "cross_site", f"a page of another site sent this: {(origin or 'unknown')[:120]}",
        where="Origin",
        fix="allow its origin on the server: origins=[...], or rag serve --cors ORIGIN",
    )  # fmt: skip


def is_allowed(request: Request, origin: str, origins: Iterable[str]) -> bool:
    """Whether pages of a foreign origin may call the server."""
    if origin in origins:
        return True
    for options in _application_cors(request):
        pattern = options.get("allow_origin_regex")
        if origin in options.get("allow_origins", ()) or (
            pattern and re.fullmatch(pattern, origin)
        ):
            return True
        if "*" in options.get("allow_origins", ()) and not _has_ambient_credentials(request):
            return True
    return False


def _has_ambient_credentials(request: Request) -> bool:
    """Whether the browser itself added what says who asks: then any page could act as the user."""
    basic = request.headers.get("authorization", "").lower().startswith("basic")
    return basic or "cookie" in request.headers


def _application_cors(request: Request) -> Iterator[dict[str, Any]]:
    from starlette.middleware.cors import CORSMiddleware

    for one in getattr(request.app, "user_middleware", ()):
        if isinstance(one.cls, type) and issubclass(one.cls, CORSMiddleware):
            yield dict(one.kwargs)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
