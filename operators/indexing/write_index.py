"""Writing of chunks to the index."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator, RunContext
from rag.index import IndexWriter, WriteReport
from rag.models import Embedder


class WriteIndex(Operator):
    """Updates the index with documents: embeds new chunks, removes those that are gone.

    The last step of indexing (Modular RAG, arXiv 2407.21059, section IV-A), for `dense`, `bm25`
    and all other searches. The documents of a `source` replace all that the index has of it:
    unchanged chunks keep their vectors, the source's other chunks are removed. Sources that
    neither a document nor `sources` names stay. A run that is interrupted keeps its last commit,
    and the next one continues there.
    Reads `documents` and, if present, the `sources` that were read; writes `written`: how many
    chunks were added, kept and removed.
    Example: `{use: write_index}`
    """

    writes = "written"
    light = True

    def run(
        self,
        documents: list[Document],
        sources: list[str] | None = None,
        *,
        index: IndexWriter,
        embedder: Embedder,
        ctx: RunContext,
    ) -> WriteReport:
        """What was written; nothing, with a warning, without documents and sources.

        Raises:
            IndexStateError: Another process writes to the index, it was made with another
                embedder, or it cannot be written.
        """
        if not documents and not sources:
            ctx.warn("there are no documents to write")
        return index.write(documents, embedder, sources or ())
