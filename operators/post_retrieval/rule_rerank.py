"""Reranking by an expression over metadata."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt, field_validator

from rag.errors import ConfigError
from rag.flow import Operator, RunContext
from rag.flow.expressions import Expression
from rag.operators.documents import unique
from rag.operators.scores import score_of


class RuleRerank(Operator):
    """Reranks documents by the value of an expression, highest first; ties keep their order.

    The expression (`rag.flow.expressions`) sees each key of the document's metadata (None if it
    is missing), `score` (0 if it is missing), `rank` (from 1), `text` and `query`. Values are
    numbers or strings; ISO dates sort as strings. Documents without a value come last, in order.
    For what a model cannot know: newer first, one source before another, a boost for a language.
    Reads `query` and `documents`; writes `documents`, each once.
    Examples: `{use: rule_rerank, by: year}`,
    `{use: rule_rerank, by: "score + (0.2 if lang == 'en' else 0)", k: 5}`
    """

    writes = "documents"
    light = True
    span_kind = "RERANKER"

    by: str = Field(description="expression; documents with its highest value come first")
    k: PositiveInt | None = Field(
        default=None, description="number of documents to keep; default: all"
    )

    @field_validator("by")
    @classmethod
    def _is_expression(cls, text: str) -> str:
        try:
            Expression(text)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return text

    def run(self, query: str, documents: list[Document], *, ctx: RunContext) -> list[Document]:
        """The first `k`."""
        rule = Expression(self.by)
        found = list(unique(documents).values())
        values: list[Any] = []
        failures = []
        for rank, document in enumerate(found, start=1):
            given = dict.fromkeys(rule.names) | dict(document.metadata)
            given |= {"rank": rank, "text": document.page_content, "query": query}
            given["score"] = score_of(document) or 0.0
            try:
                values.append(rule(given))
            except ConfigError as error:
                failures.append(error)
                values.append(None)
        if failures:
            ctx.warn(f"{failures[0].what}; the same for {len(failures)} of {len(found)} documents")
        order = sorted(range(len(found)), key=lambda at: _place(values[at]), reverse=True)
        # A reversed sort keeps the order of equal ones.
        return [found[at] for at in order][: self.k]


def _place(value: Any) -> tuple[int, float, str]:
    """Sort key of any value: numbers above strings above everything else."""
    if isinstance(value, bool | int | float) and value == value:  # noqa: PLR0124 - NaN
        return 2, float(value), ""
    if isinstance(value, str):
        return 1, 0.0, value
    return 0, 0.0, ""
