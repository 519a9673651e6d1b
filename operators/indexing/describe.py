"""Document expansion by a language model."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.index.ingest.describe import describe
from rag.index.spec import DescribeSpec
from rag.models import LLM
from rag.text.chunk import Chunk


class Describe(Operator, DescribeSpec):
    """Generates the questions that each document answers, or a summary of it.

    Document expansion by questions, doc2query (Nogueira et al. 2019, arXiv 1904.08375), or with
    `by: summary` by a summary. `write_index` embeds and indexes it together with the text, or
    with `text: false` instead of it; the generator always reads the text. For users who use other
    words than the documents. A document for which the model returns nothing stays as it is, with
    a warning. LLM calls: documents, in every run.
    Reads `documents`; writes `documents` with `questions` or `summary` in their metadata.
    Example: `{use: describe, by: questions, n: 3}`
    """

    writes = "documents"
    span_kind = "LLM"

    by: Literal["questions", "summary"] = Field(
        default="questions",
        description="questions that the document answers, or a summary in a sentence",
    )
    system: str | None = Field(
        default=None, description="prompt; {n} becomes the number; default: depends on `by`"
    )

    async def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """The documents with what was generated in their metadata."""
        chunks = [Chunk.of(document) for document in documents]
        described = await describe(chunks, self, llm, system=self.system, ctx=ctx)
        return [chunk.document() for chunk in described]
