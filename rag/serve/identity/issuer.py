"""An issuer of tokens: its discovery document, and its public keys, which it changes at times."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rag.errors import ConfigError
from rag.serve.errors import Problem

log = logging.getLogger("rag.serve")

DISCOVERY = "/.well-known/openid-configuration"
FRESH = 3600.0
"""Seconds after which keys are fetched again."""
STALE = 86_400.0
"""Seconds that keys count while the issuer cannot be reached."""
PAUSE = 30.0
"""Seconds between fetches: an unknown key in a token, which anybody may send, starts one."""
TIMEOUT = 5.0
"""Seconds that a fetch may take."""
MOST_BYTES = 2**20
"""Of a document of the issuer."""
FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""How algorithms begin, and the kind of key that each needs."""


class Issuer:
    """The keys of an issuer, fetched when they are first needed; any number of threads may ask.

    Args:
        url: What tokens name as `iss`; its discovery document is below it.
        now: Seconds, by a clock that never goes back.

    Raises:
        ConfigError: The URL is neither HTTPS nor within one's own network.
    """

    def __init__(self, url: str, now: Callable[[], float] = time.monotonic) -> None:
        self.url, self._now = url, now
        if not _is_safe(url):
            raise ConfigError(
                "keys that are fetched over plain HTTP could be anybody's", where="oidc",
                fix="give the issuer as https://...",
            )  # fmt: skip
        self._lock = threading.Lock()
        self._keys: list[dict[str, Any]] = []
        self._fetched = self._tried = float("-inf")

    def key(self, kid: str | None, algorithm: str) -> Any | None:
        """The public key of that id that may be used with an algorithm; None: there is none.

        Args:
            kid: The key's id; None: there must be only one key for the algorithm.
            algorithm: Such as `RS256`; never one with a shared secret.

        Raises:
            Problem: 503, no keys are known, and the issuer cannot be reached.
        """
        found = self._find(kid, algorithm)
        if found is None or self._now() - self._fetched > FRESH:
            with self._lock:
                if self._now() - max(self._fetched, self._tried) > PAUSE:
                    self._fetch()
            found = self._find(kid, algorithm)
        if self._now() - self._fetched > STALE:
            raise Problem(
                503, "issuer_unavailable", "tokens cannot be checked now", where="Authorization",
                fix="try again later", headers={"Retry-After": f"{PAUSE:.0f}"},
            )  # fmt: skip
        return found

    def _find(self, kid: str | None, algorithm: str) -> Any | None:
        from jwt import PyJWK
        from jwt.exceptions import PyJWTError

        kind = FAMILIES.get(algorithm[:2])
        fit = [
            key
            for key in self._keys
            if key.get("kty") == kind
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ]
        if len(fit) != 1:
            return None
        try:
            return PyJWK(fit[0], algorithm).key
        except (PyJWTError, ValueError):  # it is no key
            return None

    def _fetch(self) -> None:
        self._tried = self._now()
        try:
            about = _document(self.url.rstrip("/") + DISCOVERY)
            if about.get("issuer") != self.url:
                raise ValueError(f"the document is of the issuer {about.get('issuer')!r}")
            where = str(about.get("jwks_uri"))
            if not _is_safe(where):
                raise ValueError("its keys are not at an HTTPS address")
            keys = _document(where)["keys"]
            self._keys = [key for key in keys if isinstance(key, dict)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("the keys of %s cannot be fetched: %s", self.url, error)
        else:
            self._fetched = self._tried


def _is_safe(url: str) -> bool:
    """Whether nobody outside of one's own network can answer in place of a URL's server."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    here = host in ("127.0.0.1", "::1") or (host != "" and "." not in host and ":" not in host)
    return parts.scheme == "https" if not here else parts.scheme in ("http", "https")


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: it could lead to an address that is not the issuer's."""


def _document(url: str) -> dict[str, Any]:
    """A JSON document of the issuer's."""
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - HTTP by `_is_safe`
    try:
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT) as answer:
            data = answer.read(MOST_BYTES + 1)
    except URLError as error:
        raise OSError(f"{url}: {error.reason}") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"{url} is larger than {MOST_BYTES:,} bytes")
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError(f"{url} is no JSON object")
    return found
