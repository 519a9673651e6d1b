"""Stored states: memory over disk over what machines share."""

from rag.kvcache.store.base import Entry, Found, Miss, Tier
from rag.kvcache.store.disk import DiskTier
from rag.kvcache.store.memory import MemoryTier
from rag.kvcache.store.open import open_store
from rag.kvcache.store.redis import RedisTier
from rag.kvcache.store.shared import SharedTier
from rag.kvcache.store.spec import StoreSpec
from rag.kvcache.store.tiered import KVStore

__all__ = [
    "DiskTier",
    "Entry",
    "Found",
    "KVStore",
    "MemoryTier",
    "Miss",
    "RedisTier",
    "SharedTier",
    "StoreSpec",
    "Tier",
    "open_store",
]
