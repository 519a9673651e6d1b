"""A user's database, read by a specification."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rag.connect.sql import Database
from rag.errors import ConfigError, InputError

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "port.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE locks (name TEXT)")
        connection.execute("INSERT INTO locks VALUES ('north')")
    return path


def test_the_time_limit_comes_from_the_specification(path: Path) -> None:
    database = Database.load({"path": path.name, "seconds": 0.05}, base=path.parent)
    with pytest.raises(InputError, match=r"longer than 0\.05 seconds"):
        database.rows(ENDLESS)
    assert database.rows("SELECT name FROM locks") == [{"name": "north"}]


def test_a_database_that_is_written_elsewhere_is_read_as_it_is_now(path: Path) -> None:
    database = Database.load(str(path))
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("INSERT INTO locks VALUES ('south')")
    assert len(database.rows("SELECT name FROM locks")) == 2


def test_a_file_that_is_gone_is_a_config_error(path: Path) -> None:
    database = Database.load(str(path))
    path.unlink()
    for use in (database.schema, lambda: database.rows("SELECT 1")):
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            use()
        assert str(path) in str(caught.value)
        assert caught.value.fix
    assert not path.exists(), "reading never makes a file"
