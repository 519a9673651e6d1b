"""Tiers together: read through, promoted, written behind, and never in the way."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch

from rag.kvcache.store import DiskTier, Entry, Found, KVStore, MemoryTier, Miss, SharedTier
from rag.kvcache.store.tiered import AHEAD
from rag.testing.entries import entry_of, key_of, same

A, B = key_of("a"), key_of("b")
ROOM = 1 << 20


def test_written_behind_and_read_by_another_store(tmp_path: Path) -> None:
    store = KVStore([MemoryTier(ROOM), DiskTier(tmp_path)])
    store.put(A, entry_of(1))
    store.flush()
    assert store.tiers[1].contains(A)
    store.close()
    store = KVStore([MemoryTier(ROOM), DiskTier(tmp_path)])
    found = store.get(A, list(entry_of(1).ids))
    assert isinstance(found, Found)
    assert found.tier == "disk"
    assert found.load_seconds > 0
    assert same(found.entry, entry_of(1))
    again = store.get(A, entry_of(1).ids)
    assert isinstance(again, Found)
    assert again.tier == "memory"
    numbers = store.stats()
    assert (numbers["memory"]["hits"], numbers["memory"]["misses"]) == (1, 1)
    assert (numbers["disk"]["hits"], numbers["disk"]["load_seconds"]) == (1, found.load_seconds)
    store.close()


def test_promoted_to_all_tiers_above(tmp_path: Path) -> None:
    shared = SharedTier(tmp_path / "shared")
    shared.put(A, entry_of(1))
    store = KVStore([MemoryTier(ROOM), DiskTier(tmp_path / "disk"), shared])
    found = store.get(A, entry_of(1).ids)
    assert isinstance(found, Found)
    assert found.tier == "shared"
    store.flush()
    assert [tier.contains(A) for tier in store.tiers] == [True, True, True]
    store.close()


def test_put_does_not_wait_and_no_tier_below_is_waited_for(tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(SharedTier):
        def put(self, key: str, entry: Entry) -> None:
            gate.wait(10)
            super().put(key, entry)

    store = KVStore([MemoryTier(ROOM), Slow(tmp_path)])
    for number in range(300):  # more than may wait
        store.put(key_of(number), entry_of(1))
    assert isinstance(store.get(key_of(0), entry_of(1).ids), Found)
    gate.set()
    numbers = store.stats()["shared"]
    assert numbers["entries"] + numbers["errors"] == 300
    assert numbers["errors"] in (43, 44)  # 256 wait, one may be being written
    store.close()


def test_failures_are_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SharedTier):
        def get(self, key: str) -> Entry | None:
            raise RuntimeError("get")

        put = delete = keys = verify = contains = size = pin = close = None  # type: ignore[assignment]

    store = KVStore([MemoryTier(ROOM), Broken(tmp_path)])
    with caplog.at_level(logging.WARNING):
        assert store.get(A, [1]) == Miss("unreachable")
        store.put(A, entry_of(1))
        store.flush()
    assert "shared tier: get failed: get" in caplog.text
    assert "shared tier: put failed" in caplog.text
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    assert store.contains(A)
    assert not store.contains(B)
    store.pin(A)
    assert len(store.verify()) == 1
    assert store.stats()["shared"]["errors"] >= 5
    assert store.clear() == 1
    store.close()


def test_other_tokens_are_dropped_everywhere(tmp_path: Path) -> None:
    store = KVStore([MemoryTier(ROOM), DiskTier(tmp_path)])
    store.put(A, entry_of(1))
    store.flush()
    assert store.get(A, [1]) == Miss("other tokens")
    assert store.keys() == []
    assert store.get(A, entry_of(1).ids) == Miss("absent")
    store.close()


class Gated(SharedTier):
    """Reads when it may."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate, self.reads = threading.Event(), Counter[str]()

    def get(self, key: str) -> Entry | None:
        self.reads[key] += 1
        assert self.gate.wait(10)
        return super().get(key)


@pytest.mark.parametrize("room", [0, ROOM])
def test_what_is_read_ahead_is_read_once(room: int, tmp_path: Path) -> None:
    below = Gated(tmp_path)
    keys = [key_of(number) for number in range(4)]
    for number, key in enumerate(keys):
        below.put(key, entry_of(number))
    store = KVStore([MemoryTier(room), below])
    store.prefetch([*keys, B, keys[0]])
    assert below.reads.total() <= 1  # nobody waited for it
    below.gate.set()
    for number, key in enumerate(keys):
        found = store.get(key, entry_of(number).ids)
        assert isinstance(found, Found)
        assert found.tier == "shared"
        assert same(found.entry, entry_of(number))
    assert store.get(B, [1]) == Miss("absent")
    assert below.reads == dict.fromkeys([*keys, B], 1)
    numbers = store.stats()["shared"]
    assert (numbers["hits"], numbers["misses"]) == (4, 1)
    assert numbers["prefetched"] <= 4
    store.close()


def test_what_is_in_memory_is_not_read_ahead(tmp_path: Path) -> None:
    below = Gated(tmp_path)
    store = KVStore([MemoryTier(ROOM), below])
    store.put(A, entry_of(1))
    store.prefetch([A])
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    assert not below.reads
    KVStore([below]).prefetch([A])
    store.close()
    store.prefetch([A, B])
    assert not below.reads


def test_what_was_read_ahead_and_written_since(tmp_path: Path) -> None:
    below = Gated(tmp_path)
    below.gate.set()
    below.put(A, entry_of(1))
    store = KVStore([MemoryTier(ROOM), below])
    store.prefetch([A, B])
    store.put(B, entry_of(2))
    store.put(A, entry_of(3))
    for key, number in ((A, 3), (B, 2)):
        found = store.get(key, entry_of(number).ids)
        assert isinstance(found, Found)
        assert same(found.entry, entry_of(number))
    store.close()


def test_no_more_is_held_than_may_be(tmp_path: Path) -> None:
    below = Gated(tmp_path)
    below.gate.set()
    store = KVStore([MemoryTier(0), below])
    store.prefetch(key_of(number) for number in range(3 * AHEAD))
    assert list(store._ahead) == [key_of(number) for number in range(AHEAD)]
    store.prefetch([key_of(2 * AHEAD)])
    assert len(store._ahead) == AHEAD
    store.close()


def test_clear_delete_keys_contains(tmp_path: Path) -> None:
    store = KVStore([MemoryTier(ROOM), DiskTier(tmp_path)])
    for number in range(5):
        store.put(key_of(number), entry_of(number))
    assert len(store.keys()) == 5
    store.delete(key_of(0))
    assert not store.contains(key_of(0))
    assert store.clear() == 4
    assert store.keys() == []
    assert not list(tmp_path.glob("??/*.safetensors"))
    assert {numbers["bytes"] for numbers in store.stats().values()} == {0}
    store.close()


def test_pin_reaches_every_tier(tmp_path: Path) -> None:
    size = entry_of().nbytes
    store = KVStore([MemoryTier(size * 2, "lru"), DiskTier(tmp_path, size * 4, "lru")])
    store.put(A, entry_of())
    store.pin(A)
    for number in range(9):
        store.put(key_of(number), entry_of())
    store.flush()
    assert [tier.contains(A) for tier in store.tiers] == [True, True]
    store.close()


def test_closed(tmp_path: Path) -> None:
    others = set(threading.enumerate())
    store = KVStore([MemoryTier(ROOM), DiskTier(tmp_path)])
    store.put(A, entry_of(1))
    store.close()
    store.close()
    store.put(B, entry_of(2))
    store.flush()
    assert isinstance(store.get(B, entry_of(2).ids), Found)
    assert store.stats()["disk"]["entries"] == 0
    assert not [one for one in set(threading.enumerate()) - others if one.name == "rag-kv"]
    tier = DiskTier(tmp_path)
    assert tier.keys() == [A]
    tier.close()


def test_many_threads(tmp_path: Path) -> None:
    size = entry_of().nbytes
    store = KVStore([MemoryTier(size * 3), DiskTier(tmp_path, size * 12)])
    wrong = []

    def work(first: int) -> None:
        for number in range(first, first + 40):
            entry = entry_of(number % 7)
            found = store.get(key_of(number % 7), entry.ids)
            if isinstance(found, Found):
                if not same(found.entry, entry):
                    wrong.append(number)
            else:
                store.put(key_of(number % 7), entry)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.verify() == []
    assert sum(numbers["errors"] for numbers in store.stats().values()) == 0
    store.close()


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_keys_that_are_none(key: str) -> None:
    store = KVStore([MemoryTier(ROOM)])
    for ask in (store.contains, store.delete, store.pin):
        with pytest.raises(ValueError, match="no SHA-256"):
            ask(key)
    with pytest.raises(ValueError, match="no SHA-256"):
        store.put(key, entry_of())
    with pytest.raises(ValueError, match="no SHA-256"):
        store.get(key, [])


def test_a_store_needs_a_tier() -> None:
    with pytest.raises(ValueError, match="needs a tier"):
        KVStore([])


def test_bytes_of_an_entry() -> None:
    tensors = {"keys": torch.zeros(1, 1, 2, 4), "values": torch.zeros(1, 1, 2, 4)}
    assert Entry((1, 2), tensors).nbytes == 64


def test_what_a_store_has_saved_outlives_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        store = KVStore([MemoryTier(0), DiskTier(tmp_path)])
        store.put(A, entry_of(1, cost=1.5))
        store.get(A, entry_of(1).ids)
        store.flush()
        assert isinstance(store.get(A, entry_of(1).ids), Found)
        contents = store.contents()
        store.close()
    disk = contents["disk"]
    assert disk["entries"] == 1
    assert disk["reads"] >= 2
    assert disk["saved_seconds"] == pytest.approx(disk["reads"] * 1.5)
    assert contents["memory"]["reads"] is contents["memory"]["saved_seconds"] is None


def test_discarding_and_passing_entries() -> None:
    first, second = MemoryTier(ROOM), MemoryTier(ROOM)
    store = KVStore([first, second])
    store.put(A, entry_of(1), lasting=False)
    store.put(B, entry_of(2))
    store.flush()
    assert [sorted(tier.keys()) for tier in store.tiers] == [sorted([A, B]), [B]]
    assert store.peek(A) is first.get(A)
    store.discard(B)
    assert store.peek(B) is None
    store.flush()
    assert second.keys() == []
    (numbers, *_) = store.stats().values()
    assert (numbers["hits"], numbers["misses"]) == (0, 0)
    store.close()
