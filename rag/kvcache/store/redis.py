"""Entries in Redis, for machines that share no directory."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

from rag.errors import ConfigError
from rag.extras import require
from rag.kvcache.store.base import Corrupt, Entry, OtherVersion, Tier, Unreachable
from rag.kvcache.store.codec import pack, unpack
from rag.kvcache.store.quantize import Storage, dequantize, quantize

PAUSE = 5.0
"""Seconds in which a server that did not respond is not tried again."""


class RedisTier(Tier):
    """The bytes of the files that other tiers write, under a prefix.

    Args:
        url: `redis://host:port/db`.
        ttl_seconds: How long an entry is kept after it was written; None: until Redis evicts it.
        prefix: Of the keys.
        storage: The form of new entries (`quantize.Storage`).
        client: Used instead of one made from `url`.

    Raises:
        ConfigError: The package `redis` is missing, or the URL is none.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        ttl_seconds: int | None = None,
        prefix: str = "rag:kv:",
        *,
        storage: Storage = "as is",
        client: Any = None,
    ) -> None:
        super().__init__()
        redis = require("redis", "redis", where="kv.redis")
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        try:
            self._client = client or redis.Redis.from_url(
                url, socket_timeout=2.0, socket_connect_timeout=1.0
            )
        except ValueError as error:
            raise ConfigError(
                f"{url!r} is no URL of a Redis server: {error}",
                where="kv.redis.url",
                fix="write redis://host:6379/0",
            ) from error
        self._ttl, self._prefix, self._storage = ttl_seconds, prefix, storage
        self._paused_until = 0.0

    def _send(self, command: str, *arguments: Any, **options: Any) -> Any:
        if time.monotonic() < self._paused_until:
            raise Unreachable("it did not respond a moment ago", known=True)
        try:
            return getattr(self._client, command)(*arguments, **options)
        except self._errors as error:
            self._paused_until = time.monotonic() + PAUSE
            raise Unreachable(str(error)) from error

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`."""
        data = self._send("get", self._prefix + key)
        if data is None:
            return None
        try:
            return dequantize(unpack(key, data))
        except OtherVersion:
            return None
        except Corrupt:
            self.counts.quarantined += 1
            with contextlib.suppress(Unreachable):
                self.delete(key)
            raise

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`."""
        data = pack(key, quantize(entry, self._storage))
        self._send("set", self._prefix + key, data, ex=self._ttl)

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return bool(self._send("exists", self._prefix + key))

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        self._send("delete", self._prefix + key)

    def keys(self) -> list[str]:
        """See `Tier.keys`."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"
        found: set[str] = set()
        at = 0
        while True:  # SCAN, since KEYS blocks all other clients
            at, names = self._send("scan", at, match=pattern, count=1000)
            found.update(name.decode().removeprefix(self._prefix) for name in names)
            if not int(at):
                return sorted(found)

    def size(self) -> tuple[int, int, int | None]:
        """See `Tier.size`; one command for each entry."""
        sizes = [int(self._send("strlen", self._prefix + key)) for key in self.keys()]
        return len(sizes), sum(sizes), None

    def verify(self) -> list[str]:
        """See `Tier.verify`; corrupt entries are removed."""
        problems = []
        for key in self.keys():
            try:
                self.get(key)
            except Corrupt as error:
                problems.append(f"redis: {key[:12]}: {error}")
        return problems

    def close(self) -> None:
        """See `Tier.close`."""
        self._client.close()
