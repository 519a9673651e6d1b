"""Entries in Redis, for machines that share no directory."""

from __future__ import annotations

import time
from typing import Any

from rag.errors import ConfigError
from rag.kvcache.store.base import Corrupt, Entry, Tier, Unreachable
from rag.kvcache.store.codec import pack, unpack
from rag.kvcache.store.quantize import dequantize, quantize

PAUSE = 5.0
"""Seconds in which a server that did not answer is not asked again."""


class RedisTier(Tier):
    """The bytes of the files that other tiers write, under a prefix.

    Args:
        url: `redis://host:port/db`.
        ttl_seconds: After which an entry that nobody wrote again is gone; None: the server's say.
        prefix: Of the keys.
        int8: Keep new entries in eight bits.
        client: In place of one made from `url`.

    Raises:
        ConfigError: The package `redis` is missing.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        ttl_seconds: int | None = None,
        prefix: str = "rag:kv:",
        *,
        int8: bool = False,
        client: Any = None,
    ) -> None:
        super().__init__()
        try:
            import redis
        except ImportError as error:
            raise ConfigError(
                "the package redis is not installed", where="kv.redis", fix="pip install redis"
            ) from error
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._client = client or redis.Redis.from_url(
            url, socket_timeout=2.0, socket_connect_timeout=1.0
        )
        self._ttl, self._prefix, self._int8 = ttl_seconds, prefix, int8
        self._silent_until = 0.0

    def _ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        if time.monotonic() < self._silent_until:
            raise Unreachable("it did not answer a moment ago")
        try:
            return getattr(self._client, command)(*arguments, **options)
        except self._errors as error:
            self._silent_until = time.monotonic() + PAUSE
            raise Unreachable(str(error)) from error

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`."""
        data = self._ask("get", self._prefix + key)
        if data is None:
            return None
        try:
            return dequantize(unpack(key, data))
        except Corrupt:
            self.counts.quarantined += 1
            self.delete(key)
            raise

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`."""
        data = pack(key, quantize(entry) if self._int8 else entry)
        self._ask("set", self._prefix + key, data, ex=self._ttl)

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        try:
            return bool(self._ask("exists", self._prefix + key))
        except Unreachable:
            return False

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        self._ask("delete", self._prefix + key)

    def keys(self) -> list[str]:
        """See `Tier.keys`."""
        found = self._ask("keys", f"{self._prefix}*")
        return sorted(name.decode().removeprefix(self._prefix) for name in found)

    def size(self) -> tuple[int, int, int | None]:
        """See `Tier.size`; the server does not tell the bytes of some keys cheaply."""
        try:
            return len(self.keys()), 0, None
        except Unreachable:
            return 0, 0, None

    def close(self) -> None:
        """See `Tier.close`."""
        self._client.close()
