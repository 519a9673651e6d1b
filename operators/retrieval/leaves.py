"""From summaries to the chunks that they were written of."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.index.ingest.tree import SUMMARY, leaves_of
from rag.operators.documents import unique
from rag.operators.expansion import SourceChunks
from rag.text.chunk import Chunk


class Leaves(Operator):
    """Replaces each summary of a tree by the chunks that it was written of.

    The way down the tree of RAPTOR (Sarthi et al. 2024, arXiv 2401.18059): summaries are found,
    and the text is read and cited. The trees are made at ingest, by `index: {summaries: {}}` or
    the step `summarise`. A chunk appears once, at its best rank, and has its summary's scores
    unless it was found itself; what is no summary stays as it is.
    Reads `documents` of the index; writes `documents`, best first.
    Example: `{use: leaves}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    most: PositiveInt | None = Field(
        default=None, description="chunks of a summary at most, in the order of the text"
    )

    def run(self, documents: list[Document], *, index: Index) -> list[Document]:
        """The chunks."""
        sources = SourceChunks(index)
        found: list[Document] = []
        for document in documents:
            chunk = Chunk.of(document)
            if chunk.written_as != SUMMARY:
                found.append(document)
                continue
            places = set(leaves_of(chunk))
            leaves = [one for one in sources.of(chunk) if one.position in places]
            scores = {key: document.metadata[key] for key in ("score", "scores")
                      if key in document.metadata}  # fmt: skip
            found += [one.document(**scores) for one in leaves[: self.most]]
        return list(unique(found).values())
