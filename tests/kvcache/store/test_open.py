"""Stores from what a pipeline file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from rag.errors import ConfigError
from rag.kvcache.store import StoreSpec, open_store
from rag.kvcache.store.spec import size_of
from rag.testing.entries import entry_of, key_of


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
        "shared": {"path": str(tmp_path / "shared"), "max_bytes": "3GB"},
        "redis": {"url": "redis://localhost:1/0", "ttl_seconds": 60},
        "policy": "lru",
    }
    store = open_store(spec, tmp_path)
    assert [tier.name for tier in store.tiers] == ["memory", "disk", "shared", "redis"]
    store.put(key_of(1), entry_of(tokens=64, dim=64))
    numbers = store.stats()
    bounds = [numbers[name]["max_bytes"] for name in ("memory", "disk", "shared")]
    assert bounds == [2**20, 2**31, 3 * 2**30]
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
    assert size_of(text) == size


@pytest.mark.parametrize(
    ("spec", "where", "fix"),
    [
        ({"memry": 1}, "kv", "did you mean 'memory'"),
        ({"memory": "lots"}, "kv.memory", "512MB"),
        ({"memory": -1}, "kv.memory", "512MB"),
        ({"memory": True}, "kv.memory", "512MB"),
        ({"disk": {"path": "kv", "max_byte": 1}}, "kv.disk", "did you mean 'max_bytes'"),
        ({"disk": {"path": "kv", "max_bytes": "x"}}, "kv.disk.max_bytes", "512MB"),
        ({"disk": {"path": "kv", "storage": "int3"}}, "kv.disk.storage", "int8"),
        ({"disk": {"max_bytes": 1}}, "kv.disk", "path"),
        ({"disk": None}, "kv.disk", "path"),
        ({"disk": ""}, "kv.disk.path", "path"),
        ({"shared": {"pth": "x"}}, "kv.shared", "did you mean 'path'"),
        ({"shared": {"path": "x", "max_bytes": "much"}}, "kv.shared.max_bytes", "512MB"),
        ({"shared": 3}, "kv.shared", "write /mnt/kv"),
        ({"redis": {"url": 7}}, "kv.redis.url", "redis://"),
        ({"redis": "localhost"}, "kv.redis.url", "redis://"),
        ({"redis": {"url": "redis://a", "ttl_seconds": "1h"}}, "kv.redis.ttl_seconds", "seconds"),
        ({"policy": "lifo"}, "kv.policy", "known: cost, lfu, lru"),
        ({"policy": 1}, "kv.policy", "lru"),
        ({"storage": "int3"}, "kv.storage", "int8"),
        (7, "kv", "write a folder"),
        (["kv"], "kv", "write a folder"),
    ],
)
def test_what_is_wrong_is_said(spec: Any, where: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        open_store(spec, tmp_path)
    assert raised.value.where == where
    assert fix in str(raised.value.fix)


def test_a_specification_is_a_value_and_has_a_schema(tmp_path: Path) -> None:
    spec = StoreSpec.model_validate({"disk": "kv", "memory": "1MB"})
    store = open_store(spec, tmp_path)
    assert [tier.name for tier in store.tiers] == ["memory", "disk"]
    store.close()
    schema = StoreSpec.model_json_schema()
    for good in ("kv", {"disk": "kv"}, {"memory": 1, "shared": {"path": "x", "max_bytes": "1GB"}}):
        jsonschema.validate(good, schema)
    for bad in (7, {"dsk": "kv"}, {"policy": "lifo"}, {"redis": {"url": "x", "ttl_seconds": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
