"""Whatever happens to the store, the answer comes, and the store heals."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag.kvcache.engine import KVEngine
from rag.kvcache.store import DiskTier, KVStore, MemoryTier, RedisTier
from tests.kvcache.helpers import CHUNKS, make_engine, prefill
from tests.kvcache.store.servers import Server


def engine_over(store: KVStore) -> KVEngine:
    return make_engine("llama", store)


def composed(engine: KVEngine) -> tuple[Any, list[str | None]]:
    """The first token's logits, and for each chunk why it was no hit."""
    done = prefill(engine, "concat")
    engine.store.flush()
    return done.logits, [chunk.why for chunk in done.report.chunks]


@pytest.fixture(scope="module")
def expected() -> Any:
    return composed(engine_over(KVStore([MemoryTier(1 << 28)])))[0]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def foreign(path: Path) -> None:
    path.write_bytes(b"\x80\x05cos\nsystem\n(S'false'\ntR.")


@pytest.mark.parametrize("damage", [cut, flip, foreign, Path.unlink])
def test_damaged_files(damage: Callable[[Path], None], tmp_path: Path, expected: Any) -> None:
    engine = engine_over(KVStore([DiskTier(tmp_path)]))
    composed(engine)
    engine.store.close()
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) > len(CHUNKS)
    for path in files:
        damage(path)
    engine = engine_over(KVStore([DiskTier(tmp_path)]))
    for wanted in (False, True):
        logits, why = composed(engine)
        assert [one is None for one in why] == [wanted] * len(CHUNKS)
        assert (logits - expected).abs().max() < 1e-4
    assert not engine.store.verify()
    engine.store.close()


def test_a_full_disk(tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_over(KVStore([DiskTier(tmp_path)]))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for _ in range(2):
            logits, why = composed(engine)
            assert None not in why
            assert (logits - expected).abs().max() < 1e-4
    composed(engine)
    assert composed(engine)[1] == [None] * len(CHUNKS)
    engine.store.close()


def test_redis_goes_and_comes_back(
    tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)
    try:
        now = [0.0]
        monkeypatch.setattr("rag.kvcache.store.redis.time.monotonic", lambda: now[0])
        engine = engine_over(KVStore([RedisTier(server.url)]))
        composed(engine)
        assert composed(engine)[1] == [None] * len(CHUNKS)
        server.stop()
        logits, why = composed(engine)
        assert None not in why
        assert (logits - expected).abs().max() < 1e-4
        server.start()
        now[0] += 3600
        composed(engine)
        logits, why = composed(engine)
        assert why == [None] * len(CHUNKS)
        assert (logits - expected).abs().max() < 1e-4
        engine.store.close()
    finally:
        server.stop()
