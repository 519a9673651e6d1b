"""Redis: a real server where there is one, else the few commands of its protocol that are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.kvcache.store import Found, KVStore, MemoryTier, Miss, RedisTier
from rag.testing.entries import entry_of, key_of, same
from tests.kvcache.store.host import TEXTS, save_model
from tests.kvcache.store.servers import Server

ROOT = Path(__file__).parents[3]
A, B = key_of("a"), key_of("b")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def test_round_trip_and_all_questions(server: Server) -> None:
    tier = RedisTier(server.url, ttl_seconds=100)
    assert tier.get(A) is None
    tier.put(A, entry_of(1))
    tier.put(B, entry_of(2))
    found = tier.get(A)
    assert found is not None
    assert same(found, entry_of(1))
    assert tier.contains(A)
    assert tier.keys() == sorted([A, B])
    assert tier.size()[0] == 2
    assert tier.size()[1] > entry_of(1).nbytes * 2
    tier.delete(A)
    assert not tier.contains(A)
    assert tier.keys() == [B]
    tier.close()


def test_prefixes_keep_stores_apart(server: Server) -> None:
    one, other = RedisTier(server.url, prefix="a*:"), RedisTier(server.url, prefix="ab:")
    one.put(A, entry_of(1))
    other.put(B, entry_of(2))
    assert (one.keys(), other.keys()) == ([A], [B])


def test_int8(server: Server) -> None:
    tier = RedisTier(server.url, storage="int8")
    tier.put(A, entry_of(tokens=64, dim=64))
    assert tier.size()[1] < 0.4 * entry_of(tokens=64, dim=64).nbytes  # of float32
    found = tier.get(A)
    assert found is not None
    assert found.meta == entry_of().meta


def test_ttl_is_sent(server: Server) -> None:
    RedisTier(server.url, ttl_seconds=100).put(A, entry_of(1))
    if server.real:
        assert 0 < server.client().ttl(f"rag:kv:{A}") <= 100
    else:
        (command,) = [one for one in server.stand.commands if one[0] == b"SET"]
        assert command[-2:] == [b"EX", b"100"]


def test_wrong_bytes_are_removed(server: Server) -> None:
    store = KVStore([RedisTier(server.url)])
    server.client().set(f"rag:kv:{A}", b"nonsense")
    assert store.get(A, [1]) == Miss("corrupt")
    assert store.get(A, [1]) == Miss("absent")
    store.put(B, entry_of(2))
    data = server.client().get(f"rag:kv:{B}")
    server.client().set(f"rag:kv:{A}", data)
    (problem,) = store.verify()
    assert problem.startswith(f"redis: {A[:12]}: it is the file of {B[:12]}")
    assert store.keys() == [B]
    assert store.stats()["redis"]["quarantined"] == 2
    store.close()


def test_gone_and_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("rag.kvcache.store.redis.time.monotonic", lambda: now[0])
    client = server.client()
    requests: list[str] = []
    get = client.get
    monkeypatch.setattr(client, "get", lambda key: requests.append(key) or get(key))
    store = KVStore([MemoryTier(1 << 20), RedisTier(server.url, client=client)])
    store.put(A, entry_of(1))
    store.flush()
    server.stop()
    for _ in range(51):
        assert store.get(B, [1]) == Miss("unreachable")
    assert len(requests) == 1  # the server is left alone for a while
    store.put(B, entry_of(2))
    assert isinstance(store.get(A, entry_of(1).ids), Found)
    assert isinstance(store.get(B, entry_of(2).ids), Found)
    numbers = store.stats()["redis"]
    assert (numbers["errors"], numbers["misses"]) == (1, 51)
    assert store.contains(A)
    assert not store.contains(key_of("c"))
    now[0] += 6
    assert store.get(key_of("c"), [1]) == Miss("unreachable")
    assert store.stats()["redis"]["errors"] == 2
    server.start()
    assert store.get(key_of("c"), [1]) == Miss("unreachable")
    now[0] += 6
    assert store.get(key_of("c"), [1]) == Miss("absent")
    store.put(key_of("c"), entry_of(3))
    store.flush()
    assert store.tiers[1].contains(key_of("c"))
    assert store.stats()["redis"]["errors"] == 2
    store.close()


def test_an_own_client(server: Server) -> None:
    tier = RedisTier("", client=server.client())
    tier.put(A, entry_of(1))
    assert RedisTier(server.url).contains(A)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match="not installed") as raised:
        RedisTier("redis://localhost")
    assert raised.value.fix == 'pip install "modular-rag[redis]"'


def test_machines_with_other_paths_share_states(server: Server, tmp_path: Path) -> None:
    tiers = []
    for host in ("one", "two"):
        model, home = tmp_path / host / "models" / host, tmp_path / host / "home"
        home.mkdir(parents=True)
        save_model(model)
        paths = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        command = [sys.executable, "-m", "tests.kvcache.store.host", str(model), server.url]
        found = subprocess.check_output(command, cwd=ROOT, env={**os.environ, **paths})
        tiers.append(json.loads(found))
    assert tiers == [[None] * len(TEXTS), ["redis"] * len(TEXTS)]
