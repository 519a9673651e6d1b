"""Document expansion by a language model."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.index.ingest.describe import describe
from rag.index.spec import DescribeSpec, Written
from rag.models import LLM
from rag.text.chunk import Chunk


class Describe(Operator, DescribeSpec):
    """Generates what each document is found by: questions, a summary, its context, statements.

    `by: questions`: those that it answers, doc2query (Nogueira et al. 2019, arXiv 1904.08375), for
    users who use other words than the documents. `by: summary`: a sentence. Either is indexed
    together with the text, or with `text: false` instead of it. `by: context`: the model reads the
    whole document that the chunks of a source make and says where the chunk belongs (contextual
    retrieval, Anthropic 2024); a local model computes a document's states once for all of its
    chunks. `by: propositions`: the statements of the chunk, each a document of its own whose
    nearest parent is the chunk (Chen et al. 2023, arXiv 2312.06648); read them through `parents`.
    `by: triples`: facts for `graph`, not indexed. The generator always reads the text. A
    document for which the model returns nothing stays as it is, with a warning. LLM calls:
    documents, in every run.
    Reads `documents`; writes `documents` with what was generated in their metadata.
    Example: `{use: describe, by: questions, n: 3}`
    """

    writes = "documents"
    span_kind = "LLM"

    by: Written = Field(default="questions", description="what is written of each document")
    system: str | None = Field(
        default=None, description="prompt; {n} becomes the number; default: depends on `by`"
    )

    async def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """The documents with what was generated in their metadata."""
        chunks = [Chunk.of(document) for document in documents]
        described = await describe(chunks, self, llm, system=self.system, ctx=ctx)
        return [chunk.document() for chunk in described]
