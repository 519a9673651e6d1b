"""Stores from what a pipeline file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.errors import ConfigError
from rag.kvcache.store import open_store
from rag.kvcache.store.open import size_of
from tests.kvcache.store.helpers import entry_of, key_of


def test_nothing_said_is_memory_alone(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    assert {name: one["max_bytes"] for name, one in store.stats().items()} == {"memory": 2**29}
    assert not list(tmp_path.iterdir())


def test_a_text_is_a_folder(tmp_path: Path) -> None:
    store = open_store("kv", tmp_path)
    assert list(store.stats()) == ["memory", "disk"]
    assert (tmp_path / "kv" / "index.sqlite").exists()
    store.close()


def test_everything(tmp_path: Path) -> None:
    spec = {
        "memory": "1MB",
        "disk": {"path": "./disk", "max_bytes": "2GB", "storage": "int8"},
        "shared": {"path": str(tmp_path / "shared")},
        "redis": {"url": "redis://localhost:1/0", "ttl_seconds": 60},
        "policy": "lru",
    }
    store = open_store(spec, tmp_path)
    assert [tier.name for tier in store.tiers] == ["memory", "disk", "shared", "redis"]
    store.put(key_of(1), entry_of(tokens=64, dim=64))
    numbers = store.stats()
    assert (numbers["memory"]["max_bytes"], numbers["disk"]["max_bytes"]) == (2**20, 2**31)
    assert numbers["disk"]["bytes"] < numbers["shared"]["bytes"] / 3  # of float32
    assert numbers["redis"]["errors"] >= 1
    store.close()


def test_storage_of_all_tiers_and_of_one(tmp_path: Path) -> None:
    spec = {"disk": "a", "shared": {"path": "b", "storage": "as is"}, "storage": "int8"}
    store = open_store(spec, tmp_path)
    store.put(key_of(1), entry_of(tokens=64, dim=64))
    numbers = store.stats()
    assert numbers["disk"]["bytes"] < numbers["shared"]["bytes"] / 3
    store.close()


@pytest.mark.parametrize(
    ("text", "size"),
    [(1000, 1000), ("512MB", 2**29), ("2 GiB", 2**31), ("1.5k", 1536), ("0", 0), ("1TB", 2**40)],
)
def test_sizes(text: Any, size: int) -> None:
    assert size_of(text, "memory") == size


@pytest.mark.parametrize(
    ("spec", "where", "fix"),
    [
        ({"memry": 1}, "kv", "did you mean 'memory'"),
        ({"memory": "lots"}, "kv.memory", "512MB"),
        ({"memory": -1}, "kv.memory", "512MB"),
        ({"memory": True}, "kv.memory", "512MB"),
        ({"disk": {"path": "kv", "max_byte": 1}}, "kv.disk", "did you mean 'max_bytes'"),
        ({"disk": {"path": "kv", "max_bytes": "x"}}, "kv.disk.max_bytes", "512MB"),
        ({"disk": {"path": "kv", "storage": "int4"}}, "kv.disk.storage", "int8"),
        ({"disk": {"max_bytes": 1}}, "kv.disk", "path"),
        ({"disk": None}, "kv.disk", "path"),
        ({"disk": ""}, "kv.disk", "path"),
        ({"shared": {"pth": "x"}}, "kv.shared", "did you mean 'path'"),
        ({"redis": {"url": 7}}, "kv.redis", "url"),
        ({"redis": "localhost"}, "kv.redis.url", "redis://"),
        ({"redis": {"url": "redis://a", "ttl_seconds": "1h"}}, "kv.redis.ttl_seconds", "seconds"),
        ({"policy": "lifo"}, "kv.policy", "known: lru, lfu, cost"),
        ({"policy": 1}, "kv.policy", "lru"),
        ({"storage": "int4"}, "kv.storage", "int8"),
        (7, "kv", "name a folder"),
        (["kv"], "kv", "name a folder"),
    ],
)
def test_what_is_wrong_is_said(spec: Any, where: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        open_store(spec, tmp_path)
    assert raised.value.where == where
    assert fix in str(raised.value.fix)
