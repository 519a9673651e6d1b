"""All tiers pass the suite that other tiers pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.kvcache.store import DiskTier, MemoryTier, RedisTier, SharedTier, Tier
from rag.testing.suites.tier import Open, TierSuite
from tests.kvcache.store.servers import Server


class TestMemory(TierSuite):
    outlives = False

    @pytest.fixture
    def open_tier(self) -> Open:
        return lambda: MemoryTier(1 << 24)


class Files(TierSuite):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "states"

    def damage(self, tier: Tier, key: str) -> bool:
        (file,) = self.path.rglob(f"{key}.safetensors")
        data = bytearray(file.read_bytes())
        data[-20] ^= 4
        file.write_bytes(data)
        return True


class TestDisk(Files):
    @pytest.fixture
    def open_tier(self) -> Open:
        return lambda: DiskTier(self.path, 1 << 24)


class TestDiskInEightBits(Files):
    exact = False

    @pytest.fixture
    def open_tier(self) -> Open:
        return lambda: DiskTier(self.path, storage="int8")


class TestDiskInFourBits(Files):
    exact = False

    @pytest.fixture
    def open_tier(self) -> Open:
        return lambda: DiskTier(self.path, storage="int4")


class TestShared(Files):
    @pytest.fixture
    def open_tier(self) -> Open:
        return lambda: SharedTier(self.path, 1 << 24)


class TestRedis(TierSuite):
    @pytest.fixture(autouse=True)
    def running(self, tmp_path: Path) -> Iterator[None]:
        self.server = Server(tmp_path)
        yield
        self.server.stop()

    @pytest.fixture
    def open_tier(self) -> Open:
        return lambda: RedisTier(self.server.url)

    def damage(self, tier: Tier, key: str) -> bool:
        self.server.client().set(f"rag:kv:{key}", b"nonsense")
        return True
