"""Expansion: what a language model writes of each chunk, to be found by."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.index import spec
from rag.index.ingest.describe import describe
from rag.models import LLM


class Describe(Operator, spec.Describe):
    """Lets a model write the questions that each document answers, or what it says in short.

    Document expansion by questions, doc2query (Nogueira et al. 2019, arXiv 1904.08375); with
    `by: summary` a summary. `write_index` embeds and indexes it with the text, or with
    `text: false` in its place; what is read later is the text. For askers who use other words
    than the documents. A document of which the model writes nothing stays as it is, with a
    warning. LLM calls: documents, in every run.
    Reads `documents`; writes `documents` with `questions` or `summary` in their metadata.
    Example: `{use: describe, by: questions, n: 3}`
    """

    writes = "documents"
    span_kind = "LLM"

    by: Literal["questions", "summary"] = Field(
        default="questions", description="that the document answers, or what it says in a sentence"
    )
    system: str | None = Field(
        default=None, description="what the model is told instead; {n} becomes the number"
    )

    async def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """Ask of each."""
        return await describe(documents, self, llm, system=self.system, ctx=ctx)
