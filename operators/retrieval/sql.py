"""Retrieval from tables, by SQL that somebody wrote: a person, a template or a model."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from langchain_core.documents import Document
from pydantic import Field, PositiveFloat, PositiveInt

from rag.flow import Context, Operator
from rag.index.sql import Tables


class SQL(Operator):
    """Runs a SELECT on a SQLite file; each row becomes a document.

    The resource `tables` is opened for reading only; anything but one SELECT is refused
    (`rag.index.sql.Tables`). For questions that numbers and lists answer. Where no statement is
    read, `statement` is run, with the query as its parameter `:query`.
    Reads `sql`, where it is there; reads `query`; writes `documents`, a line `column: value` for
    each cell that has one, the values in `metadata["row"]`. A cut by `limit` is told in a warning.
    Example: `{use: sql, statement: "SELECT * FROM tolls WHERE :query LIKE '%' || vessel || '%'"}`
    """

    use: ClassVar[str] = "sql"
    writes = "documents"
    blocking = True
    span_kind = "RETRIEVER"

    statement: str | None = Field(default=None, description="what is run where `sql` is not there")
    limit: PositiveInt = Field(default=50, description="rows at most")
    seconds: PositiveFloat = Field(default=5.0, description="after which the statement is stopped")

    def run(
        self, query: str, sql: str | None = None, *, tables: Tables, context: Context
    ) -> list[Document]:
        """Select.

        Raises:
            InputError: The statement would write, is wrong, is missing, or took too long.
        """
        statement = sql or self.statement
        found = tables.select(statement or "", self.limit, self.seconds, {"query": query})
        if found.more:
            context.warn(f"only the first {self.limit} rows are taken")
        return [
            _document(found.columns, row, tables.path.name, statement or "") for row in found.rows
        ]


def _document(columns: tuple[str, ...], row: tuple[Any, ...], source: str, sql: str) -> Document:
    values = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in zip(columns, row, strict=True)
    }
    lines = [f"{name}: {value}" for name, value in values.items() if value is not None]
    key = hashlib.sha256(json.dumps([source, values]).encode()).hexdigest()[:32]
    metadata = {"source": source, "sql": sql, "row": values}
    return Document(id=key, page_content="\n".join(lines), metadata=metadata)
