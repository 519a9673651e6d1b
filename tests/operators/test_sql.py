"""SQL out of questions, and a database that can only be read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rag.connect.sql import Database
from rag.errors import ConfigError, InputError, StepError
from rag.flow import Flow
from rag.flow.run.events import Warned
from rag.models import LLM
from rag.operators import TextToSQL
from rag.testing.llm import ScriptedLLM

GOOD = "SELECT name FROM locks WHERE metres > 100"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    connection = sqlite3.connect(tmp_path / "port.sqlite")
    with connection:
        connection.execute("CREATE TABLE locks (name TEXT, metres INTEGER)")
        connection.execute("INSERT INTO locks VALUES ('north', 120), ('south', 80)")
        connection.execute("CREATE VIEW long_ones AS SELECT * FROM locks WHERE metres > 100")
    connection.close()
    return Database.load("port.sqlite", base=tmp_path)


@pytest.mark.parametrize(
    ("said", "sql", "calls"),
    [
        ([GOOD], GOOD, 1),
        ([f"Here it is:\n```sql\n{GOOD};\n```\nIt lists them."], GOOD, 1),
        ([f"```\n{GOOD}"], GOOD, 1),
        ([f"{GOOD};\n\nThis lists the long ones."], GOOD, 1),
        (["WITH l AS (SELECT * FROM locks) SELECT name FROM l"], None, 1),
        (["SELECT nome FROM locks", GOOD], GOOD, 2),
        (["SELECT * FROM boats"], "", 2),
        (["DROP TABLE locks"], "", 2),
        (["SELECT 1; DROP TABLE locks"], "", 2),
        (["SELECT load_extension('evil')"], "", 2),
        (["WITH x AS (SELECT 1) DELETE FROM locks"], "", 2),
        ([f"Here is a query with the name:\n{GOOD}"], GOOD, 1),
        ([f"Here is the SELECT statement: {GOOD}"], GOOD, 1),
        (
            [GOOD.replace(" WHERE", "\n\nWHERE") + ";\n\nIt lists them."],
            GOOD.replace(" WHERE", "\n\nWHERE"),
            1,
        ),
        ([f"```\nCREATE TABLE locks\n```\nso {GOOD}"], GOOD, 1),
        (["SELECT nome FROM locks UNION SELECT name FROM locks"], "", 2),
        (["WITH locks AS (SELECT nome FROM locks) SELECT name FROM locks"], "", 2),
        (["SELECT nome, (SELECT name FROM locks) FROM locks"], "", 2),
        (["I cannot."], "", 2),
        ([""], "", 2),
        (["SELECT " * 5000], "", 2),
    ],
)
def test_only_a_statement_that_reads_comes_out(
    said: list[str], sql: str | None, calls: int, database: Database
) -> None:
    llm = ScriptedLLM({"text_to_sql": list(said)})
    flow = Flow(TextToSQL(), resources={"llm": llm, "database": database})
    events = list(flow.stream(query="Which locks are longer than 100 m?"))
    assert events[-1].result["sql"] == (said[0] if sql is None else sql)
    assert len(llm.names) == calls
    assert any(isinstance(event, Warned) for event in events) == (sql == "")
    assert "CREATE TABLE locks" in llm.prompts[0].chunks[0]
    if calls == 2:
        assert "That is wrong: " in llm.prompts[1].question


def test_the_small_model_writes_what_the_database_takes(database: Database, llm: LLM) -> None:
    flow = Flow(TextToSQL(max_tokens=24), resources={"llm": llm, "database": database})
    sql = flow.invoke(query="What are the names of all locks?")["sql"]
    assert sql == "" or database.problem(sql) is None


def test_an_empty_question_asks_nobody(database: Database) -> None:
    llm = ScriptedLLM()
    flow = Flow(TextToSQL(), resources={"llm": llm, "database": database})
    assert flow.invoke(query=" ")["sql"] == ""
    assert llm.names == []


def test_what_is_wrong_is_told_of_the_statement_and_not_of_the_words_around_it(
    database: Database,
) -> None:
    llm = ScriptedLLM({"text_to_sql": "Here, with love:\nSELECT nome FROM locks\n\nThat is all."})
    flow = Flow(TextToSQL(), resources={"llm": llm, "database": database})
    flow.invoke(query="Which locks?")
    assert "so far: SELECT nome FROM locks\nThat is wrong: no such column: nome" in (
        llm.prompts[1].question
    )


def test_columns_of_the_same_name_are_all_there(database: Database) -> None:
    join = "FROM locks AS a JOIN locks AS b ON a.name < b.name"
    (row,) = database.rows(f"SELECT a.name, b.name {join}")
    assert row == {"name": "north", "name_2": "south"}
    (row,) = database.rows(f"SELECT a.name, b.name, 7 AS name_2 {join}")
    assert row == {"name": "north", "name_3": "south", "name_2": 7}


def test_rows_come_by_the_names_of_their_columns(database: Database) -> None:
    assert database.rows(GOOD) == [{"name": "north"}]
    assert len(database.rows("SELECT * FROM locks", limit=1)) == 1
    assert len(database.schema()) == 2


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("", "no statement"),
        ("SELEC name", "syntax error"),
        ("SELECT * FROM boats", "no such table"),
        ("DELETE FROM locks", "not authorized"),
        ("ATTACH 'other.sqlite' AS other", "not authorized"),
        ("PRAGMA query_only = 0", "not authorized"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT zeroblob(100000000)", "too big"),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
            "longer than 0.05 seconds",
        ),
    ],
)
def test_nothing_is_changed_and_nothing_takes_for_ever(
    sql: str, says: str, database: Database
) -> None:
    quick = Database(database.path, seconds=0.05)
    with pytest.raises(InputError, match=says):
        quick.rows(sql)
    assert len(database.rows("SELECT * FROM locks")) == 2


@pytest.mark.parametrize(
    ("spec", "says"),
    [("none.sqlite", "no file"), ("text", "not a database"), ({"path": "x"}, "no file")],
)
def test_what_is_no_database_is_refused(spec: object, says: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is not a database, and longer than its header would be.")
    with pytest.raises(ConfigError, match=says):
        Database.load(spec, base=tmp_path)


def test_a_flow_without_a_database_says_so() -> None:
    with pytest.raises((ConfigError, StepError), match="no resource is called 'database'"):
        Flow(TextToSQL(), resources={"llm": ScriptedLLM()}).invoke(query="Who?")
