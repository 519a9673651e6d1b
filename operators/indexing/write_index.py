"""Writing: chunks into the index, where searches find them."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator, RunContext
from rag.index import IndexWriter, WriteReport
from rag.models import Embedder


class WriteIndex(Operator):
    """Brings the index up to date with documents: embeds what is new, removes what is gone.

    The last step of indexing (Modular RAG, arXiv 2407.21059, section IV-A), for `dense`, `bm25`
    and all other searches. The documents of a `source` are all that the index then has of it:
    what it has already keeps its vector, the source's other chunks go. Sources that neither a
    document nor `sources` names stay. A run that was stopped leaves the last commit, and the next
    one goes on there.
    Reads `documents` and, where they are told, the `sources` that were read; writes `written`:
    how many chunks were added, kept and removed.
    Example: `{use: write_index}`
    """

    writes = "written"

    def run(
        self,
        documents: list[Document],
        sources: list[str] | None = None,
        *,
        index: IndexWriter,
        embedder: Embedder,
        ctx: RunContext,
    ) -> WriteReport:
        """Write; without documents and sources the index is left alone, with a warning.

        Raises:
            IndexStateError: Another process writes to the index, it was made with another
                embedder, or it cannot be written.
        """
        if not documents and not sources:
            ctx.warn("there are no documents to write")
        return index.write(documents, embedder, sources or ())
