"""Loading of files as documents."""

from __future__ import annotations

from pathlib import Path

from langchain_core.documents import Document
from pydantic import Field

from rag.errors import LoadError
from rag.flow import Operator, RunContext
from rag.index.ingest.names import part_uri
from rag.index.readers.discover import Skipped, discover
from rag.index.readers.read import read_file
from rag.text.surrogates import escape_surrogates


class Load(Operator):
    """Loads files and folders: office and web documents, PDF, books, mail, notebooks, code, tables.

    The first step of indexing (Modular RAG, arXiv 2407.21059, section IV-A). Formatted text
    becomes Markdown, a PDF one document per page, a row of a table a paragraph. A file that
    cannot be read is skipped, with a warning. All documents are held in memory: for corpora of many
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
            warnings: list[str] = []
            try:
                loaded = list(read_file(found, warnings.append))
            except LoadError as error:
                ctx.warn(f"{found.path} is left out: {error.what}")
                continue
            for text in warnings:
                ctx.warn(f"{found.path}: {text}")
            uri = escape_surrogates(found.path.as_posix())
            sources.append(uri)
            for document in loaded:
                part = document.metadata.pop("part", "")
                document.metadata["source"] = part_uri(uri, part) if part else uri
            documents += loaded
        return documents, sources
