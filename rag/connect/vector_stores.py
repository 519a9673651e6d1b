"""Where another system holds the documents: LangChain's vector stores and retrievers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, IndexStateError, InputError, RagError
from rag.flow.resources import Resource

if TYPE_CHECKING:
    from langchain_core.documents import Document

EMBEDDERS = ("embedding", "embeddings", "embedding_service")
"""What the stores call their embedder."""


class Store(Resource):
    """A vector store or a retriever.

    Args:
        opened: A LangChain `VectorStore` or `BaseRetriever`.
        made: What was made along with it, to be closed with it.
    """

    def __init__(self, opened: Any, made: list[Any] | None = None) -> None:
        from langchain_core.retrievers import BaseRetriever
        from langchain_core.vectorstores import VectorStore

        if not isinstance(opened, VectorStore | BaseRetriever):
            raise ConfigError(
                f"{type(opened).__name__} is neither a vector store nor a retriever",
                where="resources.store",
                fix="give a LangChain VectorStore or BaseRetriever",
            )
        self.opened: Any = opened
        self._retrieves = isinstance(opened, BaseRetriever)
        self._made = made or []
        self._tells_relevance = True

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Store:
        """Open a store.

        Args:
            spec: A LangChain vector store or retriever; or a mapping with `use`, the class or
                its method that makes one (`langchain_qdrant.QdrantVectorStore`), and the
                arguments. An argument named `embedding`, `embeddings` or `embedding_service` is
                an embedder as `resources.embedder` is; a mapping with `use` is made likewise; a
                text that starts with `./` is a path.
            base: The folder that such paths start from.

        Raises:
            ConfigError: The specification is wrong.
        """
        if isinstance(spec, Mapping) and "use" in spec:
            made: list[Any] = []
            try:
                return cls(_make(spec, base, made), made)
            except BaseException:
                _close(made)
                raise
        if isinstance(spec, str | Mapping):
            raise ConfigError(
                f"{spec!r} names no store",
                where="resources.store",
                fix="write store: {use: langchain_postgres.PGVector, ...}",
            )
        return cls(spec)

    async def search(
        self, query: str, k: int, where: Mapping[str, Any] | None = None
    ) -> list[tuple[Document, float | None]]:
        """The documents for a query, best first, with relevance from 0 to 1 where it is told.

        Args:
            query: In plain words.
            k: How many at most.
            where: A filter in the store's own language.

        Raises:
            InputError: A retriever got a filter.
            IndexStateError: The store gave an error.
        """
        if self._retrieves and where:
            raise InputError(
                "a retriever takes no filter",
                where="resources.store",
                fix="set it where the retriever is made, or give the vector store itself",
            )
        try:
            return await self._search(query, k, {"filter": self._filter(where)} if where else {})
        except RagError:
            raise
        except Exception as error:  # each client has its own
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise IndexStateError(
                f"{type(self.opened).__name__} gave no documents: {reason}",
                where="resources.store",
                fix="check its address, key, collection and embedder",
            ) from error

    def _filter(self, where: Mapping[str, Any]) -> Any:
        """The filter as the store takes it: Qdrant's client wants an object of its own."""
        if type(self.opened).__name__ == "QdrantVectorStore":
            from qdrant_client.models import Filter

            return Filter.model_validate(where)
        return dict(where)

    async def _search(
        self, query: str, k: int, options: dict[str, Any]
    ) -> list[tuple[Document, float | None]]:
        if self._retrieves:
            given: list[Document] = await self.opened.ainvoke(query)
            return [(document, None) for document in given[:k]]
        if self._tells_relevance:
            try:
                told = await self.opened.asimilarity_search_with_relevance_scores(
                    query, k=k, **options
                )
                return [(document, float(score)) for document, score in told]
            except NotImplementedError:
                self._tells_relevance = False
        found = await self.opened.asimilarity_search(query, k=k, **options)
        return [(document, None) for document in found]

    def close(self) -> None:
        """Close what was made here; a store that came open stays its giver's."""
        _close(self._made)


def _make(spec: Mapping[str, Any], base: Path, made: list[Any]) -> Any:
    from rag.models import Embedder
    from rag.models.langchain import as_embeddings, called, imported

    dotted = str(spec["use"])
    maker = imported(dotted)
    arguments: dict[str, Any] = {}
    for key, value in spec.items():
        if key == "use":
            continue
        if key in EMBEDDERS:
            embedder = Embedder.load(value, base=base)
            made.append(embedder)
            arguments[key] = as_embeddings(embedder)
        elif isinstance(value, Mapping) and "use" in value:
            arguments[key] = _make(value, base, made)
        elif isinstance(value, str) and value.startswith("./"):
            arguments[key] = str(base / value)
        else:
            arguments[key] = value
    one = called(maker, dotted, arguments)
    made.append(one)
    return one


def _close(made: list[Any]) -> None:
    """Close connections: of the objects themselves, or of the clients that they hold."""
    import inspect

    while made:
        one = made.pop()
        for holder in (one, getattr(one, "client", None)):
            close = getattr(holder, "close", None)
            if callable(close) and not inspect.iscoroutinefunction(close):
                close()
