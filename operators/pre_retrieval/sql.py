"""Query construction: a SQL statement out of the question."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.connect.sql import Database
from rag.flow import RunContext
from rag.models import LLM
from rag.operators.asking import Asking, about, told
from rag.prompts.templates import prompts

ATTEMPTS = 2
"""The statement, and one more that is told what was wrong with it."""
TRIED = 32
"""Readings of an answer at most: the database looks at each."""
_FENCED = re.compile(r"```(?:sql)?\s*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_START = re.compile(r"\b(?:SELECT|WITH)\b", re.IGNORECASE)
_WITHIN = re.compile(r"(?:[()]|\b(?:UNION|ALL|INTERSECT|EXCEPT))\s*\Z", re.IGNORECASE)
_NO_SQL = re.compile("syntax error|incomplete input|unrecognized token|one statement")
_BLANK = re.compile(r"\n\s*\n|\Z")


class TextToSQL(Asking):
    """Writes the SQL statement whose result answers the question (text-to-SQL).

    For facts that stand in tables. The model sees the CREATE TABLE statements (Rajkumar et al.
    2022, arXiv 2204.00498; Modular RAG, arXiv 2407.21059, section IV-B, query construction). The
    database checks what it writes without running it, and tells it once what was wrong. LLM
    calls: 1, or 2 where the first statement was wrong.
    Reads `query` and the resource `database`, a SQLite file that can only be read; writes `sql`:
    one SELECT that the database understands, or nothing, with a warning.
    Example: `{use: text_to_sql}`
    """

    use = "text_to_sql"
    writes = "sql"

    max_tokens: PositiveInt = Field(default=192, description="the statement at most")
    system: str = told("text_to_sql")

    async def run(self, query: str, *, llm: LLM, database: Database, ctx: RunContext) -> str:
        """Ask for the statement."""
        if not query.strip():
            return ""
        tables = [Document(page_content=sql) for sql in database.schema()]
        asked, wrong = query, ""
        for _ in range(ATTEMPTS):
            said = (await self._ask(llm, ctx, self.system, asked, tables)).text
            sql, wrong = _statement(said, database)
            if not wrong:
                return sql
            failed = prompts()["text_to_sql_problem"].format(statement=sql or said, problem=wrong)
            asked = about(llm, ctx, query, failed, "statement_so_far")
        ctx.warn(f"the model wrote no statement that could be used: {wrong}")
        return ""


def _statement(said: str, database: Database) -> tuple[str, str]:
    """The first statement in a model's answer that the database understands, and nothing wrong.

    Where there is none, what came nearest and what is wrong with it: rather a column that there
    is not than words that are no SQL.
    """
    tried: list[tuple[str, str]] = []
    for sql in islice(_readings(said), TRIED):
        wrong = database.problem(sql)
        if wrong is None:
            return sql, ""
        tried.append((sql, wrong))
    nothing = ("", database.problem("") or "")
    return min(tried, key=lambda one: bool(_NO_SQL.search(one[1])), default=nothing)


def _readings(said: str) -> Iterator[str]:
    """What may be the statement: out of code fences and words around it.

    From each SELECT or WITH, but for those within a statement: a part of a wrong one would
    answer something else. To the end and then to each blank line before it, for the same reason.
    """
    for text in (*(found[1] for found in _FENCED.finditer(said)), said):
        for start in _START.finditer(text):
            if _WITHIN.search(text, 0, start.start()):
                continue
            ends = [found.start() for found in _BLANK.finditer(text, start.start())]
            for end in dict.fromkeys(reversed(ends)):
                yield text[start.start() : end].strip().rstrip(";").strip()
