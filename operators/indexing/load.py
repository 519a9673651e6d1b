"""Loading of files as documents."""

from __future__ import annotations

from pathlib import Path

from langchain_core.documents import Document
from pydantic import Field

from rag.errors import LoadError
from rag.flow import Operator, RunContext
from rag.index.readers.discover import Skipped, discover, read
from rag.index.readers.load import load
from rag.text.surrogates import escape_surrogates


class Load(Operator):
    """Loads files and folders: PDF, HTML, Markdown, DOCX, text, code, CSV, JSON Lines.

    The first step of indexing (Modular RAG, arXiv 2407.21059, section IV-A). HTML and DOCX become
    Markdown, a PDF one document per page, a row of a table a paragraph. A file that cannot be
    read is skipped, with a warning. All documents are held in memory: for corpora of many
    gigabytes use `rag ingest`.
    Reads `paths`, relative to the working directory; writes `documents` with `source`, `path`,
    `title`, `page` (of a PDF) and `language` (of code) in their metadata, and `sources`: all
    files that were read, so that `write_index` can remove those without documents.
    Example: `{use: load}`
    """

    writes = ("documents", "sources")
    light = True

    root: str | None = Field(
        default=None, description="folder outside of which nothing is read, with links resolved"
    )

    def run(self, paths: list[str], *, ctx: RunContext) -> tuple[list[Document], list[str]]:
        """The documents and the sources, folders in sorted order."""
        documents: list[Document] = []
        sources: list[str] = []
        root = None if self.root is None else Path(self.root).expanduser().resolve()
        for found in discover(Path(path).expanduser() for path in paths):
            if isinstance(found, Skipped):
                ctx.warn(f"{found.path} is left out: {found.reason}")
                continue
            if root is not None and not found.path.resolve().is_relative_to(root):
                ctx.warn(f"{found.path} is left out: it is not in {self.root}")
                continue
            try:
                loaded = load(found.path, read(found), found.name)
            except LoadError as error:
                ctx.warn(f"{found.path} is left out: {error.what}")
                continue
            sources.append(escape_surrogates(found.path.as_posix()))
            for document in loaded:
                document.metadata["source"] = sources[-1]
            documents += loaded
        return documents, sources
