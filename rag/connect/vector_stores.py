"""Documents that another system holds: LangChain's vector stores and retrievers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field

from rag.errors import ConfigError, IndexStateError, InputError, RagError
from rag.flow.resources import Resource, Spec, Use, parse
from rag.models.embedder import Embedder
from rag.models.langchain_embedder import LangChainEmbedder
from rag.models.opening.foreign import called, imported

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings

EMBEDDERS = ("embedding", "embeddings", "embedding_service")
"""The stores' names of the argument that is their embedder."""


class StoreSpec(Spec):
    """A vector store or retriever of LangChain's packages, and the arguments that make it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    use: str = Field(
        description="the class, or its method that makes one, such as "
        "langchain_qdrant.QdrantVectorStore.from_existing_collection; further fields are its "
        "arguments"
    )


class Store(Resource):
    """A vector store or a retriever.

    Args:
        opened: A LangChain `VectorStore` or `BaseRetriever`.
        owned: What was opened along with it, and is closed with it.

    Raises:
        ConfigError: `opened` is neither.
    """

    Spec = StoreSpec
    foreign = "langchain_core.vectorstores.VectorStore"

    def __init__(self, opened: Any, owned: list[Any] | None = None) -> None:
        from langchain_core.retrievers import BaseRetriever
        from langchain_core.vectorstores import VectorStore

        if not isinstance(opened, VectorStore | BaseRetriever):
            raise ConfigError(
                f"{type(opened).__name__} is neither a vector store nor a retriever",
                where="resources.store",
                fix="give a LangChain VectorStore or BaseRetriever",
            )
        self.opened: Any = opened
        self._is_retriever = isinstance(opened, BaseRetriever)
        self._owned = owned or []
        self._has_relevance = True

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Store:
        """Open a store.

        Args:
            spec: A LangChain vector store or retriever; or a `Use` with the class, or its method
                that makes one (`langchain_qdrant.QdrantVectorStore`), and the arguments. An
                argument named `embedding`, `embeddings` or `embedding_service` is specified as
                `resources.embedder` is; a mapping with `use` is opened likewise; a text that
                starts with `./` is a path.
            base: The folder that such paths start from.

        Raises:
            ConfigError: The specification is wrong.
            ModelError: There is no such embedder.
        """
        if isinstance(spec, Store):
            return spec
        if not isinstance(spec, Use):
            return cls(spec)
        owned: list[Any] = []
        try:
            return cls(_make(spec.use, spec.arguments, base, owned), owned)
        except BaseException:
            _close(owned)
            raise

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """Why the store cannot be opened: there is no such class, or no such embedder.

        Nothing is opened and nothing is connected to.
        """
        try:
            parsed = parse(cls, spec)
            return _absent(parsed.use, parsed.arguments, base) if isinstance(parsed, Use) else None
        except ConfigError as error:
            return error

    async def search(
        self, query: str, k: int, where: Mapping[str, Any] | None = None
    ) -> list[tuple[Document, float | None]]:
        """The documents for a query, best first, with their relevance, 0 to 1, or None.

        Args:
            query: In plain words.
            k: How many at most.
            where: A filter in the store's own language.

        Returns:
            Relevance is None for retrievers, and for stores that do not normalise their scores.

        Raises:
            InputError: A retriever got a filter.
            IndexStateError: The store cannot be reached, or refuses the query.
            ModelError: The store's embedder cannot be reached.
        """
        if self._is_retriever and where:
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
        """The filter as the store takes it: Qdrant's client has a class for it."""
        if type(self.opened).__name__ == "QdrantVectorStore":
            from qdrant_client.models import Filter

            return Filter.model_validate(where)
        return dict(where)

    async def _search(
        self, query: str, k: int, options: dict[str, Any]
    ) -> list[tuple[Document, float | None]]:
        if self._is_retriever:
            documents: list[Document] = await self.opened.ainvoke(query)
            return [(document, None) for document in documents[:k]]
        if self._has_relevance:
            try:
                scored = await self.opened.asimilarity_search_with_relevance_scores(
                    query, k=k, **options
                )
                return [(document, float(score)) for document, score in scored]
            except NotImplementedError:
                self._has_relevance = False
        documents = await self.opened.asimilarity_search(query, k=k, **options)
        return [(document, None) for document in documents]

    def close(self) -> None:
        """Close what was opened here; a store that was given open is left alone."""
        _close(self._owned)


def _make(dotted: str, arguments: Mapping[str, Any], base: Path, owned: list[Any]) -> Any:
    """What the class or method makes of the arguments; all that is opened goes into `owned`."""
    maker = imported(dotted)
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in EMBEDDERS:
            embedder = Embedder.load(value, base=base)
            if embedder is not value:
                owned.append(embedder)
            values[name] = _embeddings(embedder)
        elif isinstance(value, Mapping) and "use" in value:
            inner = {key: one for key, one in value.items() if key != "use"}
            values[name] = _make(str(value["use"]), inner, base, owned)
        elif isinstance(value, str) and value.startswith("./"):
            values[name] = str(base / value)
        else:
            values[name] = value
    made = called(maker, dotted, values)
    owned.append(made)
    return made


def _embeddings(embedder: Embedder) -> Embeddings:
    """An embedder as the stores take it; of one that wraps LangChain's, that."""
    from rag.connect.langchain.embeddings import EmbedderEmbeddings

    return (
        embedder.model if isinstance(embedder, LangChainEmbedder) else EmbedderEmbeddings(embedder)
    )


def _absent(dotted: str, arguments: Mapping[str, Any], base: Path) -> RagError | None:
    """The first of the class, its embedder and the inner classes that there is not."""
    imported(dotted)
    for name, value in arguments.items():
        problem = None
        if name in EMBEDDERS:
            problem = Embedder.absent(value, base=base)
        elif isinstance(value, Mapping) and "use" in value:
            inner = {key: one for key, one in value.items() if key != "use"}
            problem = _absent(str(value["use"]), inner, base)
        if problem is not None:
            return problem
    return None


def _close(owned: list[Any]) -> None:
    """Close connections: of the objects themselves, or of their clients."""
    import inspect

    while owned:
        one = owned.pop()
        for holder in (one, getattr(one, "client", None)):
            close = getattr(holder, "close", None)
            if callable(close) and not inspect.iscoroutinefunction(close):
                close()
