"""Every store against the same suite."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

import pytest

from rag.index.local.address import FolderAddress
from rag.index.local.database import FILE
from rag.index.postgres.address import PostgresAddress
from rag.index.qdrant.address import QdrantAddress
from rag.index.qdrant.client import Client
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


class TestPostgres(StoreSuite):
    nul = False

    @pytest.fixture
    def address(self, postgres: str) -> Address:
        return PostgresAddress(postgres, uuid.uuid4().hex)

    def age(self, address: Address) -> None:
        import psycopg

        assert isinstance(address, PostgresAddress)
        with psycopg.connect(address.url) as connection:
            connection.execute(f'UPDATE "{address.schema}".state SET format = 0'.encode())  # noqa: S608


class TestQdrant(StoreSuite):
    @pytest.fixture
    def address(self, tmp_path: Path) -> Address:
        return QdrantAddress("", tmp_path / "qdrant", "book")

    def age(self, address: Address) -> None:
        assert isinstance(address, QdrantAddress)
        client = Client(address)
        client("update_collection", collection=address.sources, metadata={"format": 0})
        client.close()
