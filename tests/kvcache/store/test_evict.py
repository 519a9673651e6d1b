"""Which entry is evicted when there is no room, in memory and on disk alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.kvcache.store import DiskTier, MemoryTier, Tier
from rag.kvcache.store.codec import pack
from rag.kvcache.store.policy import policy
from rag.testing.entries import entry_of, key_of

Make = Callable[[str], Tier]
A, B, C, D = (key_of(name) for name in "abcd")


@pytest.fixture(params=["memory", "disk"])
def three(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A tier with room for three entries."""
    entry = entry_of()

    def make(by: str) -> Tier:
        if request.param == "memory":
            return MemoryTier(entry.nbytes * 3, by)
        return DiskTier(tmp_path, int(len(pack(A, entry)) * 3.5), by)

    return make


def fill(tier: Tier, *keys: str, cost: float = 1.0) -> None:
    for key in keys:
        tier.put(key, entry_of(cost=cost))


def test_lru(three: Make) -> None:
    tier = three("lru")
    fill(tier, A, B, C)
    tier.get(A)
    fill(tier, D)
    assert sorted(tier.keys()) == sorted([A, C, D])
    assert tier.counts.evictions == 1


def test_lfu(three: Make) -> None:
    tier = three("lfu")
    fill(tier, A, B, C)
    for key in (A, A, B, C, C):
        tier.get(key)
    fill(tier, D)
    assert sorted(tier.keys()) == sorted([A, C, D])


def test_cost_keeps_what_took_long(three: Make) -> None:
    tier = three("cost")
    fill(tier, A, cost=5)
    fill(tier, B, cost=1)
    fill(tier, C, cost=3)
    fill(tier, D, cost=2)
    assert sorted(tier.keys()) == sorted([A, C, D])


def test_cost_is_weighed_by_uses(three: Make) -> None:
    tier = three("cost")
    fill(tier, A, cost=1)
    fill(tier, B, C, cost=2)
    for _ in range(3):
        tier.get(A)
    fill(tier, D, cost=9)
    assert sorted(tier.keys()) == sorted([A, C, D])


def test_cost_ages(three: Make) -> None:
    """What was expensive once and is never used again goes in the end."""
    tier = three("cost")
    fill(tier, A, cost=5)
    for number in range(40):
        fill(tier, key_of(number), cost=1)
    assert not tier.contains(A)


def test_lfu_ages(three: Make) -> None:
    """What was used often once and is never used again goes in the end, and not at once."""
    tier = three("lfu")
    fill(tier, A)
    for _ in range(5):
        tier.get(A)
    stayed = []
    for number in range(40):
        fill(tier, key_of(number))
        stayed.append(tier.contains(A))
    assert all(stayed[:10])
    assert not stayed[-1]


def test_pinned_stays(three: Make) -> None:
    tier = three("lru")
    fill(tier, A, B, C)
    tier.pin(A, True)
    fill(tier, D, *map(key_of, range(9)))
    assert tier.contains(A)
    fill(tier, A)  # written again, it is still pinned
    fill(tier, *map(key_of, range(9)))
    assert tier.contains(A)
    tier.pin(A, False)
    fill(tier, *map(key_of, range(9)))
    assert not tier.contains(A)


def test_everything_pinned_leaves_no_room(three: Make) -> None:
    tier = three("lru")
    fill(tier, A, B, C)
    for key in (A, B, C):
        tier.pin(key, True)
    fill(tier, D)
    assert sorted(tier.keys()) == sorted([A, B, C])


def test_what_is_larger_than_the_tier_evicts_nothing(three: Make) -> None:
    tier = three("lru")
    fill(tier, A, B, C)
    tier.put(D, entry_of(tokens=100))
    assert sorted(tier.keys()) == sorted([A, B, C])
    tier.put(C, entry_of(tokens=100))
    assert sorted(tier.keys()) == sorted([A, B])  # the old one is no longer true
    entries, size, most = tier.size()
    assert entries == 2
    assert most is not None
    assert 0 < size <= most


@pytest.mark.parametrize(("name", "hint"), [("lur", "did you mean 'lru'"), ("xyz", "known: cost")])
def test_no_such_policy(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="no eviction policy") as raised:
        policy(name)
    assert hint in str(raised.value)


def test_smaller_stays_longer() -> None:
    cost = policy("cost")
    assert cost(0.0, 1, 1.0, 100, 0.0) > cost(0.0, 1, 1.0, 200, 0.0)
