"""A folder that machines share: bounded, and emptied of what was unused for longest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rag.kvcache.store import SharedTier
from rag.kvcache.store.codec import pack
from rag.kvcache.store.files import last_used
from rag.testing.entries import entry_of, key_of

NAMES = [key_of(number) for number in range(30)]
SIZE = len(pack(NAMES[0], entry_of(0)))


def path_of(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def age(folder: Path, key: str, seconds: float) -> None:
    """Let an entry have been last used so long ago, and written before that.

    The system itself notes the first reading after a change, and later ones once a day at most.
    """
    then = time.time() - seconds
    os.utime(path_of(folder, key), (then, then - 1000))


def put(tier: SharedTier, folder: Path, number: int) -> None:
    """Write an entry; the later ones are younger."""
    tier.put(NAMES[number], entry_of(number))
    age(folder, NAMES[number], 10_000 - number * 10)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def test_the_bound_holds_between_the_counts_too(tmp_path: Path) -> None:
    most = int(50.5 * SIZE)  # a margin of 2.5 entries
    tier = SharedTier(tmp_path, most)
    for number in range(120):
        tier.put(key_of(number), entry_of(0))
        assert bytes_in(tmp_path) <= most
    assert len(tier.keys()) > 45


def test_the_bound_holds_after_every_write(tmp_path: Path) -> None:
    most = int(3.5 * SIZE)
    tier = SharedTier(tmp_path, most)
    for number in range(10):
        put(tier, tmp_path, number)
        assert bytes_in(tmp_path) <= most
    assert tier.keys() == sorted(NAMES[7:10])
    assert tier.size() == (3, bytes_in(tmp_path), most)
    assert tier.counts.evictions == 7


def test_a_process_counts_what_others_wrote(tmp_path: Path) -> None:
    first, second = SharedTier(tmp_path, 100 * SIZE), SharedTier(tmp_path, 4 * SIZE)
    for number in range(8):
        put(first, tmp_path, number)
    put(second, tmp_path, 8)
    assert second.keys() == sorted(NAMES[6:9])
    assert bytes_in(tmp_path) <= 4 * SIZE


def test_the_folder_is_not_listed_at_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = SharedTier(tmp_path, 100 * SIZE)  # a margin of five entries
    listed = []
    real = tier._files.entries
    monkeypatch.setattr(tier._files, "entries", lambda: (listed.append(1), real())[1])
    for number in range(20):
        put(tier, tmp_path, number)
    assert len(listed) == 4


def test_what_was_read_stays_longer(tmp_path: Path) -> None:
    tier = SharedTier(tmp_path, int(3.5 * SIZE))
    for number in range(3):
        put(tier, tmp_path, number)
    assert tier.get(NAMES[0]) is not None
    put(tier, tmp_path, 3)
    assert tier.keys() == sorted([NAMES[0], NAMES[2], NAMES[3]])


def test_a_use_is_noted_once_an_hour_and_is_no_change(tmp_path: Path) -> None:
    tier = SharedTier(tmp_path)
    tier.put(NAMES[0], entry_of(0))
    path = path_of(tmp_path, NAMES[0])
    for seconds, noted in ((7200, True), (1800, False)):
        age(tmp_path, NAMES[0], seconds)
        before = path.stat()
        tier._files.touch(NAMES[0], 3600)
        assert path.stat().st_mtime_ns == before.st_mtime_ns  # or it would be verified again
        assert (last_used(path.stat()) > last_used(before)) == noted


def test_reading_is_a_use_even_where_the_system_notes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = SharedTier(tmp_path)
    tier.put(NAMES[0], entry_of(0))
    uses: list[str] = []

    def touch(key: str, interval: float) -> None:
        uses.append(key)

    monkeypatch.setattr(tier._files, "touch", touch)
    assert tier.get(NAMES[0]) is not None
    assert tier.get(NAMES[1]) is None
    assert uses == NAMES[:1]


def test_the_newest_stays_where_clocks_differ(tmp_path: Path) -> None:
    tier = SharedTier(tmp_path, int(1.5 * SIZE))
    tier.put(NAMES[0], entry_of(0))
    age(tmp_path, NAMES[0], -3600)  # written by a machine whose clock is ahead
    tier.put(NAMES[1], entry_of(1))
    assert tier.keys() == [NAMES[1]]


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    tier = SharedTier(tmp_path, int(1.5 * SIZE))
    tier.put(NAMES[0], entry_of(0))
    tier.put(NAMES[1], entry_of(1, tokens=100))
    assert tier.keys() == [NAMES[0]]
    tier.put(NAMES[0], entry_of(0, tokens=100))
    assert tier.keys() == []  # the old one is no longer true
    assert not list(tmp_path.rglob("*.part"))


def test_prune_by_idle_time_then_by_bytes(tmp_path: Path) -> None:
    tier = SharedTier(tmp_path)
    for number in range(4):
        tier.put(NAMES[number], entry_of(number))
        age(tmp_path, NAMES[number], 1000 - number * 100)
    assert tier.prune() == 0
    assert tier.prune(max_idle_seconds=950) == 1
    assert tier.keys() == sorted(NAMES[1:4])
    assert tier.prune(max_bytes=int(SIZE * 1.5)) == 2
    assert tier.keys() == [NAMES[3]]
    assert tier.counts.evictions == 3
