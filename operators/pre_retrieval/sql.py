"""Query construction: a SQL statement out of the question."""

from __future__ import annotations

import re

from langchain_core.documents import Document
from pydantic import Field, PositiveInt
from rag.operators.asking import Asking, about, told

from rag.database import Database
from rag.flow import Context
from rag.llm import LLM

ATTEMPTS = 2
"""The statement, and one more that is told what was wrong with it."""
_FENCED = re.compile(r"```(?:sql)?\s*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_STATEMENT = re.compile(r"\b(?:SELECT|WITH)\b.*", re.DOTALL | re.IGNORECASE)


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

    async def run(self, query: str, *, llm: LLM, database: Database, run: Context) -> str:
        """Ask for the statement."""
        if not query.strip():
            return ""
        tables = [Document(page_content=sql) for sql in database.schema()]
        asked, wrong = query, ""
        for _ in range(ATTEMPTS):
            said = (await self._ask(llm, run, self.system, asked, tables)).text
            sql = _statement(said)
            wrong = database.problem(sql) or ""
            if not wrong:
                return sql
            asked = about(query, f"{sql or said}\nThat is wrong: {wrong}", "Statement so far")
        run.warn(f"the model wrote no statement that could be used: {wrong}")
        return ""


def _statement(said: str) -> str:
    """The statement in a model's answer, out of code fences and words around it."""
    fenced = _FENCED.search(said)
    found = _STATEMENT.search(fenced[1] if fenced else said)
    return found[0].split("\n\n")[0].strip().rstrip(";").strip() if found else ""
