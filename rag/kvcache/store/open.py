"""A store from what a pipeline file says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.kvcache.store.base import Tier
from rag.kvcache.store.disk import DiskTier
from rag.kvcache.store.memory import MemoryTier
from rag.kvcache.store.redis import RedisTier
from rag.kvcache.store.shared import SharedTier
from rag.kvcache.store.tiered import KVStore

MEMORY = 512 * 2**20
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)
_KNOWN = ("memory", "disk", "shared", "redis", "policy", "storage")


def open_store(spec: Any, base: Path) -> KVStore:
    """Open a store.

    Args:
        spec: None: memory only. A text: a folder below memory. A mapping: `memory` (bytes),
            `disk` (a folder, or `{path, max_bytes, storage}`), `shared` (a folder, or `{path,
            storage}`), `redis` (a URL, or `{url, ttl_seconds, storage}`), `policy` (lru, lfu,
            cost), `storage` (`int8` halves the files; `as is`), which a tier's own goes before.
        base: Where relative folders start from.

    Raises:
        ConfigError: It says something that is not known.
    """
    if spec is None:
        return KVStore([MemoryTier(MEMORY)])
    if isinstance(spec, str | Path):
        spec = {"disk": str(spec)}
    if not isinstance(spec, Mapping):
        raise _wrong(f"{spec!r} is no store", "name a folder, or {memory: 512MB, disk: ./kv}")
    _check(spec, _KNOWN, "kv")
    _int8(spec, {}, "kv")
    by = spec.get("policy", "cost")
    if not isinstance(by, str):
        raise _wrong(f"policy is {by!r}", "write policy: cost, lru or lfu", "policy")
    tiers: list[Tier] = [MemoryTier(size_of(spec.get("memory", MEMORY), "memory"), by)]
    if "disk" in spec:
        disk = _mapping(spec["disk"], "path", ("path", "max_bytes", "storage"), "disk")
        most = size_of(disk["max_bytes"], "disk.max_bytes") if "max_bytes" in disk else None
        folder, int8 = base / Path(disk["path"]).expanduser(), _int8(spec, disk, "disk")
        tiers.append(DiskTier(folder, most, by, int8=int8))
    if "shared" in spec:
        shared = _mapping(spec["shared"], "path", ("path", "storage"), "shared")
        folder, int8 = base / Path(shared["path"]).expanduser(), _int8(spec, shared, "shared")
        tiers.append(SharedTier(folder, int8=int8))
    if "redis" in spec:
        redis = _mapping(spec["redis"], "url", ("url", "ttl_seconds", "storage"), "redis")
        ttl = redis.get("ttl_seconds")
        if ttl is not None and (not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 1):
            raise _wrong(f"{ttl!r} is no time", "write whole seconds", "redis.ttl_seconds")
        tiers.append(RedisTier(redis["url"], ttl, int8=_int8(spec, redis, "redis")))
    return KVStore(tiers)


def _int8(spec: Mapping[str, Any], tier: Mapping[str, Any], where: str) -> bool:
    own = "storage" in tier
    storage = (tier if own else spec).get("storage", "as is")
    if storage not in ("as is", "int8"):
        place = f"{where}.storage" if own else "storage"
        raise _wrong(f"storage is {storage!r}", "write storage: int8, or leave it out", place)
    return bool(storage == "int8")


def size_of(value: Any, where: str) -> int:
    """Bytes of `512MB`, `2 GiB` or a number; a thousand is 1,024 as in memory.

    Raises:
        ConfigError: It is no size.
    """
    found = _SIZE.fullmatch(str(value))
    if found is None or isinstance(value, bool):
        raise _wrong(f"{value!r} is no size", "write bytes, or a size such as 512MB", where)
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


def _mapping(value: Any, main: str, known: tuple[str, ...], where: str) -> Mapping[str, Any]:
    if isinstance(value, str | Path):
        value = {main: value}
    if not isinstance(value, Mapping):
        raise _wrong(f"{value!r} names no {main}", f"write {where}: {{{main}: ...}}", where)
    _check(value, known, where)
    if not isinstance(value.get(main), str | Path) or not str(value[main]):
        raise _wrong(f"{dict(value)!r} names no {main}", f"write {where}: {{{main}: ...}}", where)
    return {**value, main: str(value[main])}


def _check(value: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for wrong in sorted(value.keys() - set(known), key=str):
        near = difflib.get_close_matches(str(wrong), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise _wrong(f"unknown key {wrong!r}", f"{hint}known: {', '.join(known)}", where)


def _wrong(what: str, fix: str, where: str = "") -> ConfigError:
    return ConfigError(what, where=f"kv.{where}" if where not in ("", "kv") else "kv", fix=fix)
