"""Every store against the same suite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rag.index.local.address import FolderAddress
from rag.index.local.database import FILE
from rag.index.store import Address
from rag.testing import StoreSuite


class TestLocal(StoreSuite):
    shared = False

    @pytest.fixture
    def address(self, tmp_path: Path) -> Address:
        return FolderAddress(tmp_path / "index")

    def age(self, address: Address) -> None:
        with sqlite3.connect(Path(address.key) / FILE) as connection:
            connection.execute("PRAGMA user_version = 1")
