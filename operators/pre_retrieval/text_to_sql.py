"""Query construction: a SQL statement from the question."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from langchain_core.documents import Document
from pydantic import PositiveInt

from rag.connect.sql import Database
from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field, with_answer

ATTEMPTS = 2
"""The statement, and one correction after the database's error message."""
CANDIDATES = 32
"""Parts of an output that are tried as the statement, at most: the database checks each."""
_FENCED = re.compile(r"```(?:sql)?\s*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_START = re.compile(r"\b(?:SELECT|WITH)\b", re.IGNORECASE)
_WITHIN = re.compile(r"(?:[()]|\b(?:UNION|ALL|INTERSECT|EXCEPT))\s*\Z", re.IGNORECASE)
_NO_SQL = re.compile("syntax error|incomplete input|unrecognized token|one statement")
_BLANK = re.compile(r"\n\s*\n|\Z")


class TextToSQL(Operator):
    """Writes a SQL statement whose result answers the question (text-to-SQL).

    For facts in tables. The prompt contains the CREATE TABLE statements (Rajkumar et al. 2022,
    arXiv 2204.00498; Modular RAG, arXiv 2407.21059, section IV-B, query construction). The
    database checks the statement without running it; if it is wrong, the model gets the error
    message and corrects it once. LLM calls: 1, or 2 if the first statement is wrong.
    Reads `query` and the resource `database`, a SQLite file opened read-only; writes `sql`: one
    valid SELECT, or an empty string, with a warning.
    Example: `{use: text_to_sql}`
    """

    writes = "sql"
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(192)
    system: str | None = prompt_field("text_to_sql")

    async def run(self, query: str, *, llm: LLM, database: Database, ctx: RunContext) -> str:
        """The statement."""
        if not query.strip():
            return ""
        call = ModelCall(llm, ctx)
        tables = [Document(page_content=sql) for sql in database.schema()]
        question, wrong = query, ""
        for _ in range(ATTEMPTS):
            done = await ask(
                call,
                self.system or call.texts["text_to_sql"].text,
                question,
                tables,
                max_tokens=limit(call, self.max_tokens, 192),
            )
            sql, wrong = _statement(done.text, database)
            if not wrong:
                return sql
            problem = call.texts["text_to_sql_problem"]
            failed = problem.format(statement=sql or done.text, problem=wrong)
            question = with_answer(call, query, failed, "statement_so_far")
        ctx.warn(f"the model wrote no valid SQL statement: {wrong}")
        return ""


def _statement(output: str, database: Database) -> tuple[str, str]:
    """The first valid statement in a model's output, and an empty error message.

    If there is none, the best candidate and what is wrong with it: an unknown column is closer
    than words that are not SQL.
    """
    tried: list[tuple[str, str]] = []
    for sql in islice(_candidates(output), CANDIDATES):
        wrong = database.problem(sql)
        if wrong is None:
            return sql, ""
        tried.append((sql, wrong))
    nothing = ("", database.problem("") or "")
    return min(tried, key=lambda one: bool(_NO_SQL.search(one[1])), default=nothing)


def _candidates(output: str) -> Iterator[str]:
    """What may be the statement, without code fences and the words around it.

    From each SELECT or WITH, except within a statement: a part of a wrong one would answer
    another question. To the end, and then to each blank line before it, for the same reason.
    """
    for text in (*(found[1] for found in _FENCED.finditer(output)), output):
        for start in _START.finditer(text):
            if _WITHIN.search(text, 0, start.start()):
                continue
            ends = [found.start() for found in _BLANK.finditer(text, start.start())]
            for end in dict.fromkeys(reversed(ends)):
                yield text[start.start() : end].strip().rstrip(";").strip()
