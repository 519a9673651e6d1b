"""The store: what it keeps, what it refuses, and what survives."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rag.errors import ConfigError
from rag.kvcache.store import (
    DiskTier,
    Entry,
    Found,
    KVStore,
    MemoryTier,
    Miss,
    RedisTier,
    SharedTier,
    open_store,
)
from rag.kvcache.store.codec import pack, unpack
from rag.kvcache.store.quantize import dequantize, quantize

KEYS = [f"{number:064x}" for number in range(20)]


def entry(
    seed: int = 0, tokens: int = 8, dtype: torch.dtype = torch.bfloat16, **more: Any
) -> Entry:
    chance = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, 3, tokens, 16, generator=chance).to(dtype) for _ in range(2)]
    ids = tuple(range(seed, seed + tokens))
    return Entry(ids, {"keys": made[0], "values": made[1]}, {"note": "x"}, **more)


def same(one: Entry, other: Entry) -> bool:
    return (
        one.ids == other.ids
        and one.meta == other.meta
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_entry_comes_back_from_its_file(dtype: torch.dtype) -> None:
    given = entry(dtype=dtype, cost=0.25)
    back = unpack(KEYS[0], pack(KEYS[0], given))
    assert same(back, given)
    assert back.cost == 0.25


def test_a_file_costs_what_its_tensors_need_and_three_percent() -> None:
    shape = (30, 3, 256, 64)
    given = Entry(
        tuple(range(256)), {n: torch.zeros(shape, dtype=torch.bfloat16) for n in ("keys", "values")}
    )
    assert len(pack(KEYS[0], given)) <= 1.03 * given.nbytes


def test_eight_bits_take_half_and_lose_little() -> None:
    chance = torch.Generator().manual_seed(0)
    shape = (30, 3, 256, 64)
    tensors = {n: torch.randn(shape, generator=chance).bfloat16() for n in ("keys", "values")}
    given = Entry(tuple(range(256)), tensors)
    assert len(pack(KEYS[0], quantize(given))) <= 0.55 * len(pack(KEYS[0], given))
    back = dequantize(quantize(given))
    assert back.tensors["keys"].dtype == torch.bfloat16
    for name in ("keys", "values"):
        far = (back.tensors[name].float() - tensors[name].float()).abs().max()
        assert far <= tensors[name].float().abs().max() / 127
    assert same(dequantize(given), given)


@pytest.fixture(params=["disk", "shared"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DiskTier | SharedTier]:
    tier = DiskTier(tmp_path) if request.param == "disk" else SharedTier(tmp_path)
    yield tier
    tier.close()


def path_of(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def test_files_are_private_and_nothing_half_written_is_left(
    files: DiskTier | SharedTier, tmp_path: Path
) -> None:
    files.put(KEYS[0], entry())
    assert path_of(tmp_path, KEYS[0]).stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.rglob("*.part"))
    found = files.get(KEYS[0])
    assert found is not None
    assert same(found, entry())


def damage(kind: str, folder: Path) -> None:
    path = path_of(folder, KEYS[0])
    data = bytearray(path.read_bytes())
    match kind:
        case "truncated":
            path.write_bytes(data[:-100])
        case "empty":
            path.write_bytes(b"")
        case "bit flipped":
            data[-50] ^= 4
            path.write_bytes(data)
        case "header changed":
            path.write_bytes(bytes(data).replace(b'"cost"', b'"kost"'))
        case "swapped":
            shutil.copy(path_of(folder, KEYS[1]), path)
        case "foreign":
            path.write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR." * 10)
        case "another's shapes":
            wrong = entry()
            wrong.tensors["values"] = wrong.tensors["values"][:, :, :4]
            path.write_bytes(pack(KEYS[0], wrong))


DAMAGES = [
    "truncated",
    "empty",
    "bit flipped",
    "header changed",
    "swapped",
    "foreign",
    "another's shapes",
]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_is_put_aside_and_the_store_heals(
    tmp_path: Path, kind: str, files: DiskTier | SharedTier
) -> None:
    files.put(KEYS[0], entry())
    files.put(KEYS[1], entry(1))
    damage(kind, tmp_path)
    fresh = type(files)(tmp_path)
    store = KVStore([MemoryTier(1 << 20), fresh])
    assert store.get(KEYS[0], entry().ids) == Miss("corrupt")
    assert list((tmp_path / "quarantine").iterdir())
    assert store.get(KEYS[0], entry().ids) == Miss("absent")
    store.put(KEYS[0], entry())
    store.flush()
    again = type(files)(tmp_path)
    assert same(again.get(KEYS[0]), entry())  # type: ignore[arg-type]
    assert same(again.get(KEYS[1]), entry(1))  # type: ignore[arg-type]
    again.close()
    store.close()


def test_verify_finds_what_was_changed_behind_its_back(
    files: DiskTier | SharedTier, tmp_path: Path
) -> None:
    for number in range(3):
        files.put(KEYS[number], entry(number))
    files.get(KEYS[0])
    damage("bit flipped", tmp_path)
    store = KVStore([files])
    (problem,) = store.verify()
    assert KEYS[0][:12] in problem
    assert store.verify() == []
    assert len(store.keys()) == 2


WRITER = """
import sys, torch
from pathlib import Path
from rag.kvcache.store import DiskTier
sys.path.insert(0, {root!r})
from tests.kvcache.test_store import KEYS, entry
tier = DiskTier(Path(sys.argv[1]))
number = 0
while True:
    tier.put(KEYS[number % 20], entry(number % 20, tokens=200))
    print(number, flush=True)
    number += 1
"""


def test_a_writer_that_is_killed_leaves_only_whole_entries(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    for after in (3, 7, 12):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(root=root), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        tier = DiskTier(tmp_path)
        assert len(tier.keys()) >= min(after, 20) - 1
        for key in list(tier.keys()):
            found = tier.get(key)
            assert found is not None
            assert same(found, entry(int(key, 16), tokens=200))
        assert tier.verify() == []
        tier.close()


def test_two_processes_share_one_folder(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    script = WRITER.format(root=root).replace("while True:", "while number < 40:")
    call = [sys.executable, "-c", script, str(tmp_path)]
    running = [
        subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=root)
        for _ in range(2)
    ]
    for process in running:
        _, problems = process.communicate(timeout=120)
        assert process.returncode == 0, problems
    tier = DiskTier(tmp_path)
    assert tier.keys() == KEYS
    assert tier.verify() == []
    assert all(same(tier.get(key), entry(n, tokens=200)) for n, key in enumerate(KEYS))  # type: ignore[arg-type]
    tier.close()


def test_files_without_rows_are_taken_in_and_rows_without_files_dropped(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path)
    for number in range(3):
        tier.put(KEYS[number], entry(number))
    tier.close()
    path_of(tmp_path, KEYS[0]).unlink()
    SharedTier(tmp_path).put(KEYS[5], entry(5))
    tier = DiskTier(tmp_path)
    assert tier.keys() == [KEYS[1], KEYS[2], KEYS[5]]
    assert tier.get(KEYS[0]) is None
    tier.close()


def test_a_full_disk_costs_nothing_but_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskTier(tmp_path)
    store = KVStore([MemoryTier(1 << 20), disk])
    real, full = os.write, [True]

    def write(file: int, data: Any) -> int:
        if full[0] and len(data) > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    store.put(KEYS[0], entry())
    store.flush()
    assert disk.counts.errors == 1
    assert not list(tmp_path.rglob("*.part"))
    assert isinstance(store.get(KEYS[0], entry().ids), Found)
    full[0] = False
    store.put(KEYS[1], entry(1))
    store.flush()
    assert disk.keys() == [KEYS[1]]
    store.close()


class Server:
    """A Redis that can be away."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.away = False

    def __getattr__(self, command: str) -> Any:
        import redis

        def call(*arguments: Any, **_: Any) -> Any:
            if self.away:
                raise redis.ConnectionError("away")
            match command, arguments:
                case "get", (key,):
                    return self.data.get(key)
                case "set", (key, value):
                    self.data[key] = value
                case "exists", (key,):
                    return int(key in self.data)
                case "delete", (key,):
                    self.data.pop(key, None)
                case "keys", _:
                    return [key.encode() for key in self.data]
            return None

        return call


def test_redis_may_go_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    server, now = Server(), [100.0]
    monkeypatch.setattr("rag.kvcache.store.redis.time.monotonic", lambda: now[0])
    store = KVStore([MemoryTier(1), RedisTier("redis://nowhere", client=server)])
    store.put(KEYS[0], entry())
    store.flush()
    found = store.get(KEYS[0], entry().ids)
    assert isinstance(found, Found)
    assert found.tier == "redis"
    server.away = True
    assert store.get(KEYS[0], entry().ids) == Miss("unreachable")
    store.put(KEYS[1], entry(1))
    store.flush()
    server.away = False
    assert store.get(KEYS[0], entry().ids) == Miss("unreachable")  # it is not asked for a while
    now[0] += 10
    assert isinstance(store.get(KEYS[0], entry().ids), Found)
    name = next(iter(server.data))
    server.data[name] = server.data[name][:-3]
    assert store.get(KEYS[0], entry().ids) == Miss("corrupt")
    assert store.get(KEYS[0], entry().ids) == Miss("absent")
    store.close()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no Redis on this machine")
def test_a_real_redis(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    call = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < end:
            pass
        tier = RedisTier(f"unix://{socket}")
        tier.put(KEYS[0], entry())
        assert same(tier.get(KEYS[0]), entry())  # type: ignore[arg-type]
        assert tier.keys() == [KEYS[0]]
        tier.close()
    finally:
        process.kill()
        process.wait()


def test_a_hit_below_is_kept_above(tmp_path: Path) -> None:
    disk = DiskTier(tmp_path)
    disk.put(KEYS[0], entry())
    store = KVStore([MemoryTier(1 << 20), disk])
    tiers = []
    for _ in range(2):
        found = store.get(KEYS[0], entry().ids)
        assert isinstance(found, Found)
        tiers.append(found.tier)
    assert tiers == ["disk", "memory"]
    assert store.stats()["disk"]["hits"] == 1
    store.close()


def test_other_tokens_under_a_key_are_a_miss_and_gone() -> None:
    store = KVStore([MemoryTier(1 << 20)])
    store.put(KEYS[0], entry())
    assert store.get(KEYS[0], [1, 2]) == Miss("other tokens")
    assert store.get(KEYS[0], entry().ids) == Miss("absent")
    store.close()


@pytest.mark.parametrize(
    ("policy", "gone"), [("lru", 1), ("lfu", 2), ("cost", 2)], ids=["lru", "lfu", "cost"]
)
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_what_is_evicted(
    kind: str, policy: str, gone: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1, 1000))
    monkeypatch.setattr("rag.kvcache.store.disk.time.time", lambda: float(next(ticks)))
    size = len(pack(KEYS[0], entry(cost=1.0))) if kind == "disk" else entry().nbytes
    room = int(3.5 * size)
    tier = MemoryTier(room, policy) if kind == "memory" else DiskTier(tmp_path, room, policy)
    for number, cost in enumerate((5.0, 3.0, 0.1)):
        tier.put(KEYS[number], entry(number, cost=cost))
    for number in (1, 1, 0, 2):  # the second was used most often, and longest ago
        tier.get(KEYS[number])
    if policy == "lfu":
        tier.get(KEYS[0])
    tier.put(KEYS[9], entry(9, cost=4.0))
    assert sorted(tier.keys()) == sorted(k for n, k in enumerate([*KEYS[:3], KEYS[9]]) if n != gone)
    assert tier.counts.evictions == 1
    tier.close()


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_what_is_pinned_stays(kind: str, tmp_path: Path) -> None:
    size = 3 * (len(pack(KEYS[0], entry())) if kind == "disk" else entry().nbytes)
    tier = MemoryTier(size, "lru") if kind == "memory" else DiskTier(tmp_path, size, "lru")
    store = KVStore([tier])
    store.put(KEYS[0], entry())
    store.pin(KEYS[0])
    for number in range(1, 9):
        store.put(KEYS[number], entry(number))
    assert store.contains(KEYS[0])
    assert len(store.keys()) == 3
    store.pin(KEYS[0], False)
    for number in range(9, 12):
        store.put(KEYS[number], entry(number))
    assert not store.contains(KEYS[0])
    store.close()


def test_clear_forgets_everything(tmp_path: Path) -> None:
    store = open_store({"disk": str(tmp_path / "kv")}, Path())
    for number in range(3):
        store.put(KEYS[number], entry(number))
    assert store.clear() == 3
    assert store.keys() == []
    assert not list(tmp_path.rglob("*.safetensors"))
    store.close()


def test_old_files_of_a_shared_directory_can_be_pruned(tmp_path: Path) -> None:
    tier = SharedTier(tmp_path)
    tier.put(KEYS[0], entry())
    tier.put(KEYS[1], entry(1))
    os.utime(path_of(tmp_path, KEYS[0]), (1, 1))
    assert tier.prune(3600) == 1
    assert tier.keys() == [KEYS[1]]


def test_a_store_as_a_pipeline_says_it(tmp_path: Path) -> None:
    spec = {
        "memory": "1MB",
        "disk": {"path": "kv", "max_bytes": "2 GB"},
        "shared": "both",
        "storage": "int8",
        "policy": "lfu",
    }
    store = open_store(spec, tmp_path)
    assert [tier.name for tier in store.tiers] == ["memory", "disk", "shared"]
    assert store.stats()["disk"]["max_bytes"] == 2 * 2**30
    store.put(KEYS[0], entry())
    store.close()
    reopened = open_store(spec, tmp_path)
    found = reopened.get(KEYS[0], entry().ids)
    assert isinstance(found, Found)
    assert found.tier == "disk"
    assert found.entry.tensors["keys"].dtype == torch.bfloat16
    reopened.close()


WRONG = [
    (3, "3 is no store"),
    ({"disc": "x"}, "did you mean 'disk'"),
    ({"memory": "much"}, "'much' is no size"),
    ({"disk": {"max_bytes": 3}}, "names no path"),
    ({"policy": "lro"}, "did you mean 'lru'"),
    ({"storage": "int4"}, "storage is 'int4'"),
]


@pytest.mark.parametrize(("spec", "what"), WRONG)
def test_a_wrong_store_is_said(spec: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        open_store(spec, tmp_path)
