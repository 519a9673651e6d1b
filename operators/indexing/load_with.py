"""Loading of documents by other libraries' loaders."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field

from rag.errors import LoadError
from rag.flow import Operator
from rag.models.opening.foreign import called, foreign_class

BASE = "langchain_core.document_loaders.BaseLoader"


class LoadWith(Operator):
    """Loads documents from another system, by any of LangChain's document loaders.

    The first step of indexing (Modular RAG, arXiv 2407.21059, section IV-A) where documents are
    in a wiki, a mailbox, a bucket or a database. What has not changed since the last run is not
    embedded again. A document belongs to the source that its metadata name as `source`; texts
    are taken for Markdown.
    Writes `documents` and `sources`: all that were loaded, so that `write_index` can remove those
    without documents.
    Example: `{use: load_with, loader: langchain_community.document_loaders.WebBaseLoader,
    arguments: {web_path: "https://example.org"}}`
    """

    writes = ("documents", "sources")

    loader: str = Field(description="package.Class, in a package of LangChain")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the class"
    )

    def run(self) -> tuple[list[Document], list[str]]:
        """The documents in their order, and the sources.

        Raises:
            ConfigError: There is no such loader, or it does not accept the arguments.
            LoadError: It failed.
        """
        loader = called(foreign_class(self.loader, BASE), self.loader, self.arguments)
        try:
            documents = list(loader.lazy_load())
        except Exception as error:  # each loader has its own
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise LoadError(reason, where=self.loader) from error
        named = (one.metadata.get("source") or one.id for one in documents)
        return documents, list(dict.fromkeys(str(name) for name in named if name))
