"""A store from what a pipeline says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag.kvcache.store.base import Tier
from rag.kvcache.store.disk import DiskTier
from rag.kvcache.store.memory import MemoryTier
from rag.kvcache.store.redis import RedisTier
from rag.kvcache.store.shared import SharedTier
from rag.kvcache.store.spec import parse
from rag.kvcache.store.tiered import KVStore


def open_store(spec: Any, base: Path) -> KVStore:
    """Open a store.

    Args:
        spec: None: memory only. A text: a folder below memory. A mapping or a `StoreSpec`.
        base: Where relative folders start from.

    Raises:
        ConfigError: The specification is wrong, or a tier cannot be opened.
    """
    found = parse(spec)
    tiers: list[Tier] = [MemoryTier(found.memory, found.policy)]

    if disk := found.disk:
        folder = base / disk.path.expanduser()
        tiers.append(DiskTier(folder, disk.max_bytes, found.policy, disk.storage or found.storage))
    if shared := found.shared:
        folder = base / shared.path.expanduser()
        tiers.append(SharedTier(folder, shared.max_bytes, shared.storage or found.storage))
    if redis := found.redis:
        tiers.append(
            RedisTier(redis.url, redis.ttl_seconds, storage=redis.storage or found.storage)
        )
    return KVStore(tiers)
