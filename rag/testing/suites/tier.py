"""What holds for every tier of a store of states."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from rag.kvcache.store.base import Found, Miss, Tier
from rag.kvcache.store.tiered import KVStore
from rag.testing.entries import entry_of, key_of, same

Open = Callable[[], Tier]
A, B, C = key_of("a"), key_of("b"), key_of("c")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8)


class TierSuite:
    """Tests of a tier. Subclass it in a test module, and override `open_tier`.

    Attributes:
        outlives: Whether entries outlive the process that put them: `open_tier` then gives
            another process's connection at its second call.
        exact: Whether entries come back to the last bit: False where they are quantised.
    """

    outlives: bool = True
    exact: bool = True

    @pytest.fixture
    def open_tier(self) -> Open:
        """What opens the tier, which is empty for each test, with room for some megabytes."""
        raise NotImplementedError("override the fixture open_tier")

    def damage(self, tier: Tier, key: str) -> bool:
        """Damage what is stored under a key, behind the tier's back; False: it cannot be done."""
        return False

    def test_what_is_put_is_got(self, open_tier: Open) -> None:
        """Ids, tensors of every number format, texts and cost."""
        tier = open_tier()
        for number, dtype in enumerate(DTYPES):
            entry = entry_of(number, dtype=dtype, cost=1.5)
            entry.tensors["more"] = torch.arange(5)
            tier.put(key_of(number), entry)
            found = tier.get(key_of(number))
            assert found is not None
            assert (found.ids, found.meta, found.cost) == (entry.ids, entry.meta, entry.cost)
            assert {n: (t.dtype, t.shape) for n, t in found.tensors.items()} == {
                n: (t.dtype, t.shape) for n, t in entry.tensors.items()
            }
            assert same(found, entry) or not self.exact
        tier.close()

    def test_what_is_not_there(self, open_tier: Open) -> None:
        """Nothing is got, and deleting it is no error."""
        tier = open_tier()
        assert tier.get(A) is None
        assert not tier.contains(A)
        assert tier.keys() == []
        assert tier.size()[:2] == (0, 0)
        tier.delete(A)
        tier.pin(A, True)
        assert tier.get(A) is None
        tier.close()

    def test_entries_are_listed_counted_and_deleted(self, open_tier: Open) -> None:
        """Each by its key."""
        tier = open_tier()
        tier.put(A, entry_of(1))
        tier.put(B, entry_of(2))
        assert tier.contains(A)
        assert sorted(tier.keys()) == sorted([A, B])
        assert [one and one.ids for one in (tier.get(A), tier.get(B))] == [
            entry_of(1).ids,
            entry_of(2).ids,
        ]
        count, size, most = tier.size()
        assert count == 2
        assert size >= entry_of(1).nbytes * 2 or not self.exact
        assert most is None or size <= most
        tier.delete(A)
        assert not tier.contains(A)
        assert tier.get(A) is None
        assert tier.keys() == [B]
        assert tier.get(B) is not None
        tier.close()

    def test_the_last_one_put_counts(self, open_tier: Open) -> None:
        """Under one key there is one entry."""
        tier = open_tier()
        tier.put(A, entry_of(1))
        tier.put(A, entry_of(2, tokens=4))
        found = tier.get(A)
        assert found is not None
        assert found.ids == entry_of(2, tokens=4).ids
        assert tier.size()[0] == 1
        tier.close()

    def test_an_entry_of_no_tokens_and_one_of_one(self, open_tier: Open) -> None:
        """The smallest entries there are."""
        tier = open_tier()
        for tokens in (0, 1):
            entry = entry_of(1, tokens=tokens)
            tier.put(A, entry)
            found = tier.get(A)
            assert found is not None
            assert found.ids == entry.ids
            assert found.tensors["keys"].shape == entry.tensors["keys"].shape
        tier.close()

    def test_what_was_got_stays_as_it_was(self, open_tier: Open) -> None:
        """An entry in use outlives its place in the tier."""
        tier = open_tier()
        tier.put(A, entry_of(1))
        found = tier.get(A)
        assert found is not None
        before = {name: tensor.clone() for name, tensor in found.tensors.items()}
        tier.put(A, entry_of(2))
        tier.delete(A)
        assert same(found, replace(found, tensors=before))
        tier.close()

    def test_other_processes_find_what_was_put(self, open_tier: Open) -> None:
        """Where entries outlive the process."""
        if not self.outlives:
            pytest.skip("the tier's entries do not outlive the process")
        tier = open_tier()
        tier.put(A, entry_of(1))
        tier.close()
        other = open_tier()
        assert other.contains(A)
        found = other.get(A)
        assert found is not None
        assert found.ids == entry_of(1).ids
        other.delete(A)
        other.close()
        assert not open_tier().contains(A)

    def test_threads_share_it(self, open_tier: Open) -> None:
        """Puts, gets and deletes at once: every hit is the entry of its key."""
        tier, wrong = open_tier(), list[object]()

        def work(seed: int) -> None:
            try:
                for number in range(12):
                    name = (seed + number) % 6
                    tier.put(key_of(name), entry_of(name))
                    found = tier.get(key_of(name))
                    if found is not None and found.ids != entry_of(name).ids:
                        wrong.append(name)
                    if number % 5 == 4:
                        tier.delete(key_of(name))
            except Exception as error:  # noqa: BLE001 - the test shows it
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert tier.verify() == []
        tier.close()

    def test_in_a_store_other_tokens_are_a_miss(self, open_tier: Open) -> None:
        """A key whose entry has other tokens is not trusted, and the entry is removed."""
        store = KVStore([open_tier()])
        store.put(A, entry_of(1))
        store.flush()
        assert isinstance(store.get(A, entry_of(1).ids), Found)
        assert store.get(A, [1, 2]) == Miss("other tokens")
        assert store.get(A, entry_of(1).ids) == Miss("absent")
        numbers = store.stats()[store.tiers[0].name]
        assert (numbers["hits"], numbers["misses"]) == (1, 2)
        store.close()

    def test_damage_is_a_miss_once(self, open_tier: Open) -> None:
        """Damaged bytes are never states; what is computed again takes their place."""
        store = KVStore([open_tier()])
        store.put(A, entry_of(1))
        store.put(B, entry_of(2))
        store.flush()
        if not self.damage(store.tiers[0], A):
            store.close()
            pytest.skip("the tier's bytes cannot be reached")
        assert store.get(A, entry_of(1).ids) == Miss("corrupt")
        assert store.get(A, entry_of(1).ids) == Miss("absent")
        assert isinstance(store.get(B, entry_of(2).ids), Found)
        assert store.stats()[store.tiers[0].name]["quarantined"] == 1
        store.put(A, entry_of(1))
        store.flush()
        assert isinstance(store.get(A, entry_of(1).ids), Found)
        assert store.verify() == []
        store.close()

    def test_verify_removes_what_is_damaged(self, open_tier: Open) -> None:
        """It names each, once."""
        tier = open_tier()
        tier.put(A, entry_of(1))
        tier.put(B, entry_of(2))
        assert tier.verify() == []
        if not self.damage(tier, A):
            tier.close()
            pytest.skip("the tier's bytes cannot be reached")
        (problem,) = tier.verify()
        assert A[:12] in problem
        assert tier.verify() == []
        assert tier.keys() == [B]
        tier.close()

    def test_pruning_keeps_what_is_pinned(self, open_tier: Open) -> None:
        """A tier that prunes leaves pinned entries; one that does not returns 0."""
        tier = open_tier()
        for key in (A, B, C):
            tier.put(key, entry_of(1))
        tier.pin(A, True)
        assert tier.prune() == 0
        removed = tier.prune(max_bytes=tier.size()[1])
        assert removed == 0
        before = len(tier.keys())
        removed = tier.prune(max_bytes=0)
        assert len(tier.keys()) == before - removed
        tier.close()
