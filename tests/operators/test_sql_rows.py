"""Rows of a SQLite file as documents; nothing but reading."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rag.errors import StepError
from rag.flow import Flow
from rag.flow.run.events import Warned
from rag.operators import SQL


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tolls.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE tolls (vessel TEXT, crowns INTEGER, note TEXT);"
            "INSERT INTO tolls VALUES ('barge', 12, NULL), ('canoe', 2, 'free on Sundays');"
        )
    connection.close()
    return path


def run(operator: SQL, file: Path, **channels: str) -> tuple[list[Any], list[str]]:
    """The documents, and the warnings."""
    flow = Flow(operator, inputs=dict.fromkeys(channels, str), resources={"database": str(file)})
    events = list(flow.stream(**channels))
    warnings = [event.message for event in events if isinstance(event, Warned)]
    return events[-1].result["documents"], warnings


def test_rows_become_documents(file: Path) -> None:
    template = SQL(statement="SELECT * FROM tolls WHERE :query LIKE '%' || vessel || '%'")
    (found,), _ = run(template, file, query="What does a barge pay?")
    assert found.page_content == "vessel: barge\ncrowns: 12"
    assert found.metadata["row"] == {"vessel": "barge", "crowns": 12, "note": None}
    assert run(template, file, query="an airship?") == ([], [])


def test_a_statement_may_come_in_a_channel(file: Path) -> None:
    sql = "WITH t AS (SELECT * FROM tolls ORDER BY crowns) SELECT vessel, crowns FROM t"
    (found,), warnings = run(SQL(limit=1), file, query="?", sql=sql)
    assert found.page_content == "vessel: canoe\ncrowns: 2"
    assert warnings == ["only the first 1 rows are returned"]
    assert run(SQL(), file, query="?", sql="") == ([], ["there is no statement to run"])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tolls",
        "ATTACH DATABASE 'other.sqlite' AS other",
        "PRAGMA query_only = OFF",
        "VACUUM INTO 'copy.sqlite'",
        "SELECT 1; DELETE FROM tolls",
        "WITH t AS (SELECT 1) DELETE FROM tolls",
        "SELECT * FROM nowhere",
    ],
)
def test_all_else_is_refused(file: Path, statement: str) -> None:
    before = file.read_bytes()
    with pytest.raises(StepError):
        run(SQL(statement=statement), file, query="?")
    assert file.read_bytes() == before
