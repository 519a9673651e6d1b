"""Limits of what a user may do and use: permissions, requests in a minute, tokens in a day."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string

from rag.errors import ConfigError
from rag.serve.errors import Problem
from rag.serve.identity.identity import Identity, May


def check_permission(identity: Identity, what: May, where: str | None = None) -> None:
    """See that someone may do something.

    Raises:
        Problem: 403.
    """
    if what not in identity.may:
        raise Problem(
            403, "not_allowed", f"this needs the permission {what!r}", where=where,
            fix="ask an administrator of the server for it",
        )  # fmt: skip


class UserLimits:
    """Counts what users use, in memory, or in Redis for all processes of a server.

    Args:
        redis: `redis://host:port`; None: in memory.
        requests_per_minute: Of a user whose identity says nothing else; None: any number.
        tokens_per_day: The same.

    Raises:
        ConfigError: That is no address of Redis.
    """

    def __init__(
        self, redis: str | None, requests_per_minute: int | None, tokens_per_day: int | None
    ) -> None:
        self._requests, self._tokens = requests_per_minute, tokens_per_day
        try:
            storage = (
                storage_from_string(f"async+{redis}", implementation="redispy")
                if redis
                else storage_from_string("async+memory://")
            )
        except Exception:  # noqa: BLE001 - of that library, or of the client's
            raise ConfigError(
                "limits cannot be counted there", where="redis", fix="give redis://HOST:PORT"
            ) from None  # what was raised may repeat a password
        self._windows = FixedWindowRateLimiter(storage)

    async def request(self, identity: Identity) -> None:
        """Count a question or an upload.

        Raises:
            Problem: 429, it is one too many, or the day's tokens are used up.
        """
        if number := identity.requests_per_minute or self._requests:
            limit = RateLimitItemPerMinute(number)
            if not await self._windows.hit(limit, "requests", identity.user):
                raise await self._refusal(limit, "requests", identity, "requests a minute")
        if number := identity.tokens_per_day or self._tokens:
            day = RateLimitItemPerDay(number)
            if not await self._windows.test(day, "tokens", identity.user):
                raise await self._refusal(day, "tokens", identity, "tokens a day")

    async def used(self, identity: Identity, tokens: int) -> None:
        """Count tokens that were read or written for a user."""
        number = identity.tokens_per_day or self._tokens
        if number and tokens:
            await self._windows.hit(
                RateLimitItemPerDay(number), "tokens", identity.user, cost=tokens
            )

    async def _refusal(
        self, limit: RateLimitItem, kind: str, identity: Identity, unit: str
    ) -> Problem:
        until = (await self._windows.get_window_stats(limit, kind, identity.user)).reset_time
        wait = max(math.ceil(until - time.time()), 1)
        return Problem(
            429, "rate_limit", f"the limit of {unit} is reached: {limit.amount:,}",
            fix=f"try again in {wait} s", headers={"Retry-After": str(wait)},
        )  # fmt: skip
