"""Both stores of runs pass the suite that other stores pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.flow.memory.postgres import PostgresRunStore
from rag.flow.memory.sqlite_store import SqliteRunStore
from rag.testing.suites.run_store import Open, RunStoreSuite


class TestSqlite(RunStoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        return lambda: SqliteRunStore(tmp_path / "runs")


class TestPostgres(RunStoreSuite):
    @pytest.fixture
    def open_store(self, database: str) -> Open:
        return lambda: PostgresRunStore(database)
