"""Retrieval from tables, by SQL that somebody wrote: a person, a template or a model."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.connect.sql import Database
from rag.flow import Operator, RunContext


class SQL(Operator):
    """Runs a SELECT on a SQLite file; each row becomes a document.

    The resource `database` can only be read: anything but one SELECT is refused, and so is one
    that takes too long (`rag.connect.sql`). For questions that numbers and lists answer; behind
    `text_to_sql`, or with a statement of one's own that gets the query as `:query`.
    Reads `query` and, where it is there, `sql`; writes `documents`, a line `column: value` for
    each cell that has one, the values in `metadata["row"]`. A cut by `limit` is told in a warning.
    Example: `{use: sql, statement: "SELECT * FROM tolls WHERE :query LIKE '%' || vessel || '%'"}`
    """

    use: ClassVar[str] = "sql"
    writes = "documents"
    span_kind = "RETRIEVER"

    statement: str | None = Field(default=None, description="what is run where `sql` is not there")
    limit: PositiveInt = Field(default=50, description="rows at most")

    def run(
        self, query: str, sql: str | None = None, *, database: Database, ctx: RunContext
    ) -> list[Document]:
        """Select; without a statement nothing is found, with a warning.

        Raises:
            InputError: The statement would write, is wrong, or takes too long.
        """
        statement = sql or self.statement
        if not statement:
            ctx.warn("there is no statement to run")
            return []
        rows = database.rows(statement, self.limit + 1, {"query": query})
        if len(rows) > self.limit:
            ctx.warn(f"only the first {self.limit} rows are taken")
        return [_document(row, database.path.name, statement) for row in rows[: self.limit]]


def _document(row: dict[str, Any], source: str, sql: str) -> Document:
    values = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()
    }
    lines = [f"{name}: {value}" for name, value in values.items() if value is not None]
    key = hashlib.sha256(json.dumps([source, values]).encode()).hexdigest()[:32]
    metadata = {"source": source, "sql": sql, "row": values}
    return Document(id=key, page_content="\n".join(lines), metadata=metadata)
