"""Vector stores and retrievers of others: the real Qdrant and the real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from rag.connect.langchain import EmbedderEmbeddings
from rag.connect.vector_stores import Store
from rag.errors import ConfigError, IndexStateError, InputError, ModelError, StepError
from rag.flow import Flow, Parallel, load_flow
from rag.models import Embedder
from rag.operators import RRF, External
from tests.postgres import server

TEXTS = [
    "The north lock may be opened by the keeper on duty and by the harbour master.",
    "Pump P-17 lifts 240 litres per second and is serviced every March.",
    "Visitors pay four crowns for the boat lift; children go free.",
]
DOCUMENTS = [Document(page_content=text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
QUESTION = "What does a ticket cost?"


def test_any_vector_store_is_a_step(embedder: Embedder) -> None:
    store = InMemoryVectorStore(EmbedderEmbeddings(embedder))
    store.add_documents(DOCUMENTS)
    found = Flow(External(k=2), resources={"store": store}).invoke(query=QUESTION)["documents"]
    assert found[0].metadata["n"] == 2
    assert len(found) == 2


def test_qdrant_from_a_pipeline_file(tmp_path: Path, embedder: Embedder) -> None:
    from langchain_qdrant import QdrantVectorStore

    made = QdrantVectorStore.from_documents(
        DOCUMENTS,
        EmbedderEmbeddings(embedder),
        path=str(tmp_path / "qdrant"),
        collection_name="book",
    )
    made.client.close()
    (tmp_path / "flow.yaml").write_text(
        """
        name: elsewhere
        resources:
          store:
            use: langchain_qdrant.QdrantVectorStore.from_existing_collection
            embedding: all-minilm-l6-v2
            collection_name: book
            path: ./qdrant
        steps:
          - {use: external, k: 2}
        """
    )
    for _ in range(2):  # a second flow opens it after the first has closed it
        with load_flow(tmp_path / "flow.yaml") as flow:
            found = flow.invoke(query=QUESTION)["documents"]
            assert found[0].page_content == TEXTS[2]
            assert 0 < found[1].metadata["score"] < found[0].metadata["scores"]["external"] <= 1


def test_qdrant_filters_in_its_own_language(embedder: Embedder) -> None:
    from langchain_qdrant import QdrantVectorStore

    store = QdrantVectorStore.from_documents(
        DOCUMENTS, EmbedderEmbeddings(embedder), location=":memory:", collection_name="book"
    )
    where = {"must": [{"key": "metadata.n", "match": {"value": 1}}]}
    flow = Flow(External(filter=where), resources={"store": store})
    (found,) = flow.invoke(query=QUESTION)["documents"]
    assert found.metadata["n"] == 1
    store.client.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with server() as folder:
        yield f"postgresql+psycopg://rag@/postgres?host={folder}"


def test_pgvector(postgres: str, embedder: Embedder) -> None:
    from langchain_postgres import PGEngine, PGVectorStore

    engine = PGEngine.from_connection_string(postgres)
    engine.init_vectorstore_table("chunks", embedder.dim)
    store = PGVectorStore.create_sync(engine, EmbedderEmbeddings(embedder), "chunks")
    store.add_documents(DOCUMENTS)
    flow = Flow(
        Parallel(cheap=External(k=2), few=External(k=1, filter={"n": {"$lt": 2}}), join=RRF()),
        resources={"store": store},
        outputs=["documents"],
    )
    found = flow.invoke(query=QUESTION)["documents"]
    assert TEXTS[2] in [one.page_content for one in found]
    assert {one.metadata["n"] for one in found} & {0, 1}


def test_pgvector_from_a_pipeline_file(postgres: str, embedder: Embedder) -> None:
    from langchain_postgres import PGEngine, PGVectorStore

    engine = PGEngine.from_connection_string(postgres)
    engine.init_vectorstore_table("filed", embedder.dim)
    PGVectorStore.create_sync(engine, EmbedderEmbeddings(embedder), "filed").add_documents(
        DOCUMENTS
    )
    flow = load_flow(
        """
        name: elsewhere
        resources:
          store:
            use: langchain_postgres.PGVectorStore.create_sync
            engine: {use: langchain_postgres.PGEngine.from_connection_string, url: "${url}"}
            embedding_service: all-minilm-l6-v2
            table_name: filed
        steps:
          - {use: external, k: 1}
        """,
        params={"url": postgres},
    )
    with flow:
        (found,) = flow.invoke(query=QUESTION)["documents"]
    assert found.page_content == TEXTS[2]
    assert 0 < found.metadata["score"] <= 1


class Shelf(BaseRetriever):
    """Finds what holds the query's last word."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        if query == "down":
            raise ConnectionError("connection refused")
        return [one for one in DOCUMENTS if query.rsplit(maxsplit=1)[-1] in one.page_content]


def test_a_retriever_has_no_scores_and_takes_no_filter() -> None:
    resources = {"store": Shelf()}
    (found,) = Flow(External(), resources=resources).invoke(query="the pump P-17")["documents"]
    assert found == DOCUMENTS[1]
    with pytest.raises(StepError, match="takes no filter"):
        Flow(External(filter={"n": 1}), resources=resources).invoke(query="x")
    with pytest.raises(StepError, match="gave no documents: connection refused") as caught:
        Flow(External(), resources=resources).invoke(query="down")
    assert caught.value.exit_code == 4


def test_a_store_that_cannot_be_reached_is_an_index_state_error() -> None:
    with pytest.raises(IndexStateError, match="gave no documents: connection refused") as caught:
        asyncio.run(Store(Shelf()).search("down", 3))
    assert caught.value.exit_code == 4
    assert caught.value.where == "resources.store"
    with pytest.raises(InputError, match="takes no filter"):
        asyncio.run(Store(Shelf()).search("x", 3, {"n": 1}))


def test_an_embedder_that_cannot_be_reached_is_a_model_error(embedder: Embedder) -> None:
    class Away(type(embedder)):  # type: ignore[misc]
        """Fails as a remote embedder without a network does."""

        def __init__(self) -> None:
            self.dim, self.id = 8, "away"

        def embed_query(self, text: str) -> object:
            raise ModelError("the embedder 'away' gave no vectors")

    store = Store(InMemoryVectorStore(EmbedderEmbeddings(Away())))
    with pytest.raises(ModelError, match="'away' gave no vectors"):
        asyncio.run(store.search("x", 3))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("./qdrant", "describes no Store"),
        ({"path": "x"}, "needs the field 'use'"),
        ({"use": "os.system", "command": "true"}, "not in a package of LangChain"),
        ({"use": "langchain_core.nowhere.Store"}, "cannot be imported"),
        ({"use": "langchain_qdrant.QdrantVectorStore", "client": 1}, "does not accept"),
        ({"use": "langchain_core.documents.Document", "page_content": "x"}, "neither a vector"),
    ],
)
def test_a_wrong_store_is_said(spec: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Store.load(spec, base=Path())
