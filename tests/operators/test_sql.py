"""Rows of a SQLite file as documents; nothing but reading."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from rag.operators import SQL

from rag.errors import ConfigError, IndexStateError, InputError, StepError
from rag.flow import Flow, load_flow
from rag.flow.events import Warned
from rag.index.sql import Tables


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tolls?.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE tolls (vessel TEXT, crowns INTEGER, note TEXT);"
            "CREATE TABLE secrets (word TEXT);"
            "CREATE VIEW dear AS SELECT vessel FROM tolls WHERE crowns > 10;"
            "INSERT INTO tolls VALUES ('barge', 12, NULL), ('canoe', 2, 'free on Sundays');"
            "INSERT INTO secrets VALUES ('xyzzy');"
        )
    connection.close()
    return path


def test_rows_become_documents(file: Path) -> None:
    flow = load_flow(
        """
        name: tolls
        steps:
          - use: sql
            statement: "SELECT * FROM tolls WHERE :query LIKE '%' || vessel || '%'"
        """
    ).with_resources(tables=str(file))
    (found,) = flow.invoke(query="What does a barge pay?")["documents"]
    assert found.page_content == "vessel: barge\ncrowns: 12"
    assert found.metadata["row"] == {"vessel": "barge", "crowns": 12, "note": None}
    assert flow.invoke(query="an airship?")["documents"] == []


def test_a_statement_may_come_in_a_channel(file: Path) -> None:
    flow = Flow(SQL(limit=1), inputs={"query": str, "sql": str}, resources={"tables": str(file)})
    sql = "WITH t AS (SELECT * FROM tolls ORDER BY crowns) SELECT vessel, crowns FROM t"
    events = list(flow.stream(query="?", sql=sql))
    assert events[-1].result["documents"][0].page_content == "vessel: canoe\ncrowns: 2"
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "only the first 1 rows are taken"
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tolls",
        "INSERT INTO tolls VALUES ('x', 1, '')",
        "UPDATE tolls SET crowns = 0",
        "DROP TABLE tolls",
        "CREATE TABLE more (x)",
        "ATTACH DATABASE '/etc/passwd' AS other",
        "PRAGMA query_only = OFF",
        "VACUUM INTO 'copy.sqlite'",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM tolls",
        "WITH t AS (SELECT 1) DELETE FROM tolls",
        "BEGIN",
        "",
        "SELECT * FROM nowhere",
        "SELECT",
    ],
)
def test_all_else_is_refused(file: Path, statement: str) -> None:
    before = file.read_bytes()
    with pytest.raises(InputError) as caught:
        Tables(file).select(statement, 10, 5)
    assert caught.value.fix
    assert file.read_bytes() == before


def test_only_the_named_tables_may_be_read(file: Path) -> None:
    tables = Tables.load({"path": str(file), "tables": ["dear", "tolls"]}, base=Path())
    assert set(tables.schema()) == {"dear", "tolls"}
    assert tables.select("SELECT vessel FROM dear", 5, 5).rows == [("barge",)]
    for statement in ("SELECT * FROM secrets", "SELECT name FROM sqlite_master"):
        with pytest.raises(InputError, match="only reading the allowed tables"):
            tables.select(statement, 5, 5)


def test_a_statement_that_does_not_end_is_stopped(file: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(InputError, match="took more than"):
        Tables(file).select(endless, 5, 0.2)


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such database"):
        Tables.load("nowhere.sqlite", base=tmp_path)
    with pytest.raises(ConfigError, match="does not name a database"):
        Tables.load({"file": "x"}, base=tmp_path)
    (tmp_path / "text").write_text("no database at all " * 100)
    with pytest.raises(IndexStateError, match="not a database"):
        Tables.load("text", base=tmp_path)
    with pytest.raises(StepError, match="selects nothing"):
        file = tmp_path / "empty.sqlite"
        sqlite3.connect(file).close()
        Flow(SQL(), resources={"tables": str(file)}).invoke(query="?")
