"""The operator `newest_first`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag import Operator, RunContext


class NewestFirst(Operator):
    """Orders the documents by date, the newest first.

    For news, minutes, versions of a rule: if the latest one counts. Documents without a date come
    last, in their order; an invalid date counts as missing, with a warning.
    Reads `documents`; writes `documents`.
    Example: `{use: newest_first, key: published, k: 5}`
    """

    writes = "documents"
    light = True

    key: str = Field(default="date", description="metadata key of the date, as ISO 8601 text")
    k: PositiveInt | None = Field(
        default=None, description="number of documents to keep; default: all"
    )

    def run(self, documents: list[Document], *, ctx: RunContext) -> list[Document]:
        """The documents by date; equal dates keep their order."""
        dates = [self._date(document.metadata.get(self.key), ctx) for document in documents]
        dated = [at for at, found in enumerate(dates) if found is not None]
        dated.sort(key=lambda at: dates[at] or datetime.min.replace(tzinfo=UTC), reverse=True)
        rest = [at for at, found in enumerate(dates) if found is None]
        return [documents[at] for at in (*dated, *rest)][: self.k]

    def _date(self, value: Any, ctx: RunContext) -> datetime | None:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                ctx.warn(f"{value!r} in {self.key!r} is not a date")
        if not isinstance(value, datetime):
            return None
        return value if value.tzinfo else value.replace(tzinfo=UTC)
