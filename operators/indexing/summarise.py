"""Trees of summaries."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator, RunContext
from rag.index.ingest.tree import with_summaries
from rag.index.spec import SummariesSpec
from rag.models import LLM, Embedder
from rag.text.chunk import Chunk


class Summarise(Operator, SummariesSpec):
    """Adds summaries of similar chunks of each source, and summaries of these, as documents.

    RAPTOR (Sarthi et al. 2024, arXiv 2401.18059). Any search finds chunks and summaries together
    (the paper's collapsed tree); `leaves` replaces a summary by the chunks it was written of. For
    questions about a whole document, which no chunk answers. LLM calls: documents / size, and a
    `size`-th of that for each further level.
    Reads `documents`, those of a source together; writes `documents` with the summaries behind
    each source's, `written_as: summary`, `level` and `children` in their metadata.
    Example: `{use: summarise, size: 8}`
    """

    writes = "documents"
    span_kind = "LLM"

    async def run(
        self, documents: list[Document], *, llm: LLM, embedder: Embedder, ctx: RunContext
    ) -> list[Document]:
        """The documents and the summaries."""
        chunks = [Chunk.of(document) for document in documents]
        found = await with_summaries(chunks, self, embedder, llm, ctx=ctx)
        return [chunk.document() for chunk in found]
