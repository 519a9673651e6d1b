"""Files in a folder: what is corrupt is quarantined, what is lost is a miss."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from rag.errors import ConfigError
from rag.kvcache.store import DiskTier, Found, KVStore, Miss, SharedTier, Tier
from rag.kvcache.store.codec import pack
from rag.kvcache.store.disk import PENDING_USES
from rag.testing.entries import entry_of, key_of, same

A, B = key_of("a"), key_of("b")


@pytest.fixture(params=[DiskTier, SharedTier])
def kind(request: pytest.FixtureRequest) -> Callable[[Path], Tier]:
    return request.param  # type: ignore[no-any-return]


def path_of(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def written(kind: Callable[[Path], Tier], folder: Path) -> None:
    store = KVStore([kind(folder)])
    store.put(A, entry_of(1))
    store.put(B, entry_of(2))
    store.close()


def cut(folder: Path) -> None:
    path = path_of(folder, A)
    os.truncate(path, path.stat().st_size - 10)


def empty(folder: Path) -> None:
    path_of(folder, A).write_bytes(b"")


def flip(folder: Path) -> None:
    path = path_of(folder, A)
    data = bytearray(path.read_bytes())
    data[-20] ^= 4
    path.write_bytes(data)


def swap(folder: Path) -> None:
    path_of(folder, A).write_bytes(path_of(folder, B).read_bytes())


def foreign(folder: Path) -> None:
    torch.save({"keys": torch.zeros(3)}, path_of(folder, A))


def bare(folder: Path) -> None:
    save_file({"keys": torch.zeros(3)}, path_of(folder, A))


@pytest.mark.parametrize("damage", [cut, empty, flip, swap, foreign, bare])
def test_a_corrupt_file_is_quarantined(
    damage: Callable[[Path], None], kind: Callable[[Path], Tier], tmp_path: Path
) -> None:
    written(kind, tmp_path)
    damage(tmp_path)
    store = KVStore([kind(tmp_path)])
    assert store.get(A, entry_of(1).ids) == Miss("corrupt")
    assert store.get(A, entry_of(1).ids) == Miss("absent")
    assert isinstance(store.get(B, entry_of(2).ids), Found)
    assert [path.name[:64] for path in (tmp_path / "quarantine").iterdir()] == [A]
    (numbers,) = store.stats().values()
    assert (numbers["quarantined"], numbers["entries"], numbers["misses"]) == (1, 1, 2)
    store.put(A, entry_of(1))
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    store.close()


@pytest.mark.parametrize("damage", [cut, flip, swap, foreign])
def test_verify_finds_it_too(
    damage: Callable[[Path], None], kind: Callable[[Path], Tier], tmp_path: Path
) -> None:
    store = KVStore([kind(tmp_path)])
    store.put(A, entry_of(1))
    store.put(B, entry_of(2))
    assert store.verify() == []
    damage(tmp_path)
    (problem,) = store.verify()
    assert A[:12] in problem
    assert store.verify() == []
    assert store.keys() == [B]
    store.close()


@pytest.mark.parametrize("rewritten", [False, True])
def test_another_process_removes_a_file_while_it_is_read(
    rewritten: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(DiskTier, tmp_path)
    tier, path = DiskTier(tmp_path), path_of(tmp_path, A)
    data, map_file = path.read_bytes(), torch.UntypedStorage.from_file

    def too_late(*args: object, **options: object) -> object:
        """The library opens a file twice; the first time, it is gone at the second opening."""
        monkeypatch.undo()
        path.unlink()
        try:
            return map_file(*args, **options)
        finally:
            if rewritten:
                path.write_bytes(data)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", staticmethod(too_late))
    entry = tier.get(A)
    assert (entry is not None) == rewritten
    assert entry is None or same(entry, entry_of(1))
    assert tier.counts.quarantined == tier.counts.errors == 0
    tier.close()


def test_a_rewritten_file_is_checked_again(kind: Callable[[Path], Tier], tmp_path: Path) -> None:
    written(kind, tmp_path)
    store = KVStore([kind(tmp_path)])
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    data = bytearray(path_of(tmp_path, A).read_bytes())
    data[-20] ^= 4
    (tmp_path / "new").write_bytes(data)
    (tmp_path / "new").replace(path_of(tmp_path, A))
    assert store.get(A, entry_of(1).ids) == Miss("corrupt")
    store.close()


def test_other_tokens(kind: Callable[[Path], Tier], tmp_path: Path) -> None:
    written(kind, tmp_path)
    store = KVStore([kind(tmp_path)])
    assert store.get(A, [1, 2]) == Miss("other tokens")
    assert not path_of(tmp_path, A).exists()
    assert store.keys() == [B]
    store.close()


def test_only_the_owner_may_read(kind: Callable[[Path], Tier], tmp_path: Path) -> None:
    written(kind, tmp_path / "kv")
    assert stat.S_IMODE((tmp_path / "kv").stat().st_mode) == 0o700
    files = [path for path in (tmp_path / "kv").rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


class Full:
    """A file on a disk with room for 100 bytes."""

    def __init__(self, handle: int, mode: str) -> None:
        self._file = io.FileIO(handle, mode)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        self._file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_sync(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("when", ["write", "sync"])
def test_a_full_disk(
    when: str, kind: Callable[[Path], Tier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KVStore([kind(tmp_path)])
    store.put(A, entry_of(1))
    with monkeypatch.context() as patch:
        if when == "write":
            patch.setattr(os, "fdopen", Full)
        else:
            patch.setattr(os, "fsync", no_sync)
        store.put(B, entry_of(2))
    (numbers,) = store.stats().values()
    assert (numbers["errors"], numbers["entries"]) == (1, 1)
    assert store.get(B, entry_of(2).ids) == Miss("absent")
    assert not list(tmp_path.rglob("*.part"))
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    store.put(B, entry_of(2))
    assert isinstance(store.get(B, entry_of(2).ids), Found)
    store.close()


def test_int8_on_disk(tmp_path: Path) -> None:
    entry = entry_of(tokens=64, dim=64, dtype=torch.bfloat16)
    plain, small = DiskTier(tmp_path / "plain"), DiskTier(tmp_path / "small", storage="int8")
    for tier in (plain, small):
        tier.put(A, entry)
    assert small.size()[1] < 0.6 * plain.size()[1]
    found = small.get(A)
    assert found is not None
    assert found.meta == entry.meta
    assert found.tensors["keys"].dtype == torch.bfloat16
    assert (found.tensors["keys"] - entry.tensors["keys"]).abs().max() < 0.05


def test_a_file_without_a_row_is_verified_and_indexed(tmp_path: Path) -> None:
    written(DiskTier, tmp_path)
    flip(tmp_path)
    for path in tmp_path.glob("index.sqlite*"):
        path.unlink()
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / "notes.safetensors").write_bytes(b"a stranger's")
    tier = DiskTier(tmp_path)
    assert tier.keys() == [B]
    assert tier.counts.quarantined == 1
    assert tier._db.execute("SELECT cost FROM entries").fetchall() == [(1.0,)]
    assert (tmp_path / "ab" / "notes.safetensors").exists()
    tier.close()


def test_a_row_without_a_file_is_dropped(tmp_path: Path) -> None:
    written(DiskTier, tmp_path)
    path_of(tmp_path, A).unlink()
    tier = DiskTier(tmp_path)
    assert tier.keys() == [B]
    path_of(tmp_path, B).unlink()
    assert tier.get(B) is None
    assert tier.size()[:2] == (0, 0)
    tier.put(A, entry_of(1))
    path_of(tmp_path, A).unlink()
    assert tier.verify() == [f"disk: {A[:12]}: its file is missing"]
    assert tier.verify() == []
    tier.close()


def test_a_damaged_index_is_rebuilt(tmp_path: Path) -> None:
    written(DiskTier, tmp_path)
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 1000)
    tier = DiskTier(tmp_path)
    assert tier.keys() == sorted([A, B])
    tier.close()


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    written(DiskTier, tmp_path)
    old, new = tmp_path / A[:2] / ".0.part", tmp_path / A[:2] / ".1.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, time.time() - 7200))
    DiskTier(tmp_path).close()
    assert not old.exists()
    assert new.exists()  # somebody may be writing it


def test_an_index_that_fails_costs_no_hit(tmp_path: Path) -> None:
    store = KVStore([DiskTier(tmp_path)])
    store.put(A, entry_of(1))
    other = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.tiers[0]._db.execute("PRAGMA busy_timeout=1")  # type: ignore[attr-defined]
    found = store.get(A, entry_of(1).ids)
    assert isinstance(found, Found)
    assert same(found.entry, entry_of(1))
    store.put(B, entry_of(2))
    assert store.stats()["disk"]["errors"] == 1
    for _ in range(PENDING_USES):
        assert isinstance(store.get(A, entry_of(1).ids), Found)
    assert store.stats()["disk"]["errors"] == 2  # uses are written now and then
    assert not list(tmp_path.rglob("*.part"))
    other.execute("ROLLBACK")
    other.close()
    assert store.keys() == [A]
    store.close()


def as_of_the_first_edition(folder: Path, key: str) -> None:
    """Let a file be as the first edition wrote it: no version, and another digest."""
    path = path_of(folder, key)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    meta = json.loads(data[8 : 8 + length])["__metadata__"]
    del meta["version"], meta["xxh3"]
    save_file(load(data), path, {**meta, "sha256": "0" * 64})


def test_a_store_of_the_first_edition_is_emptied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(DiskTier, tmp_path)
    for key in (A, B):
        as_of_the_first_edition(tmp_path, key)
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("PRAGMA user_version = 0")
    db.close()
    store = KVStore([DiskTier(tmp_path)])
    assert "2 entries of another version are removed" in caplog.text
    assert store.keys() == store.verify() == []
    assert not list(tmp_path.rglob("*.safetensors"))
    store.put(A, entry_of(1))
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    assert store.stats()["disk"]["quarantined"] == 0
    store.close()
    store = KVStore([DiskTier(tmp_path)])
    assert store.keys() == [A]
    store.close()


def test_files_of_other_versions_stay_where_machines_share(tmp_path: Path) -> None:
    written(SharedTier, tmp_path)
    as_of_the_first_edition(tmp_path, A)
    store = KVStore([SharedTier(tmp_path)])
    assert store.get(A, entry_of(1).ids) == Miss("absent")
    assert store.verify() == []
    assert path_of(tmp_path, A).exists()
    store.put(A, entry_of(1))
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    store.close()


def test_mapped_tensors_outlive_their_file(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path)
    tier.put(A, entry_of(1))
    found = tier.get(A)
    tier.put(A, entry_of(2))
    tier.delete(A)
    assert found is not None
    assert same(found, entry_of(1))
    tier.close()


def test_a_folder_that_cannot_be(kind: Callable[[Path], Tier], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used") as raised:
        kind(tmp_path / "file" / "kv")
    assert raised.value.fix


def test_prune_by_idle_time_then_by_bytes(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, by="lru")
    names = [key_of(number) for number in range(5)]
    for number, name in enumerate(names):
        tier.put(name, entry_of(number))
        tier._db.execute(
            "UPDATE entries SET used = ?, priority = ? WHERE key = ?",
            (time.time() - 1000 + number * 100, number, name),
        )
    tier.pin(names[1], True)
    size = len(pack(names[0], entry_of(0)))
    assert tier.prune() == 0
    assert tier.prune(max_idle_seconds=850) == 1
    assert tier.prune(max_bytes=int(size * 2.5)) == 2
    assert tier.keys() == sorted([names[1], names[4]])  # one is pinned
    assert {path.stem for path in tmp_path.glob("??/*.safetensors")} == set(tier.keys())
    assert tier.counts.evictions == 3
    tier.close()
