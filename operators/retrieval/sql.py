"""Retrieval from tables by SQL."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.connect.sql import Database
from rag.flow import Operator, RunContext


class SQL(Operator):
    """Runs a SELECT on a SQLite file; each row becomes a document.

    The resource `database` is read-only: anything but one SELECT is refused, and one that takes
    too long is stopped (`rag.connect.sql`). For questions about numbers and lists; after
    `text_to_sql`, or with a fixed `statement` that gets the query as `:query`.
    Reads `query` and, if present, `sql`; writes `documents`, a line `column: value` for each cell
    that is not null, with the values in `metadata["row"]`. Rows beyond `limit` are dropped, with
    a warning.
    Example: `{use: sql, statement: "SELECT * FROM tolls WHERE :query LIKE '%' || vessel || '%'"}`
    """

    writes = "documents"
    light = True
    span_kind = "RETRIEVER"

    statement: str | None = Field(default=None, description="statement to run if there is no `sql`")
    limit: PositiveInt = Field(default=50, description="maximum number of rows")

    def run(
        self, query: str, sql: str | None = None, *, database: Database, ctx: RunContext
    ) -> list[Document]:
        """The rows; none, with a warning, without a statement.

        Raises:
            InputError: The statement would write, is wrong, or takes too long.
        """
        statement = sql or self.statement
        if not statement:
            ctx.warn("there is no statement to run")
            return []
        rows = database.rows(statement, self.limit + 1, {"query": query})
        if len(rows) > self.limit:
            ctx.warn(f"only the first {self.limit} rows are returned")
        return [_document(row, database.path.name, statement) for row in rows[: self.limit]]


def _document(row: dict[str, Any], source: str, sql: str) -> Document:
    values = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()
    }
    lines = [f"{name}: {value}" for name, value in values.items() if value is not None]
    key = hashlib.sha256(json.dumps([source, values]).encode()).hexdigest()[:32]
    metadata = {"source": source, "sql": sql, "row": values}
    return Document(id=key, page_content="\n".join(lines), metadata=metadata)
