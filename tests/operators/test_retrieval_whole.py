"""Hybrid search in one step, late interaction and learned weights over a whole index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from rag.errors import ConfigError, StepError
from rag.flow import Flow
from rag.index import Index, IndexWriter, SourceUpdate
from rag.index.local.derived_table import FILE
from rag.models import Embedder, SparseEncoder
from rag.operators import BM25, Dense, Hybrid, LearnedSparse, MaxSim, Rerank
from rag.operators.retrieval.hybrid import smoothed
from rag.operators.scores import standardised
from rag.text.chunk import Chunk
from tests.operators import tiny
from tests.operators.test_retrieval import TEXTS


@pytest.fixture
def index(tmp_path: Path, embedder: Embedder) -> Iterator[Index]:
    documents = [
        Document(page_content=t, metadata={"source": f"s{n}"}) for n, t in enumerate(TEXTS)
    ]
    IndexWriter(tmp_path / "index").write(documents, embedder)
    made = Index.writer(tmp_path / "index", embedder=embedder.id, dim=embedder.dim)
    yield made
    made.close()


def found(operator: object, query: str, **resources: object) -> list[Document]:
    flow = Flow(operator, resources=resources)  # type: ignore[arg-type]
    documents: list[Document] = flow.invoke(query=query)["documents"]
    return documents


def test_hybrid_knows_both_scores_of_all(index: Index, embedder: Embedder) -> None:
    query = "Who may open the north lock?"
    best = found(Hybrid(k=5, depth=2), query, index=index, embedder=embedder)
    assert best[0].metadata["source"] == "s0"
    sparse = {d.id: d.metadata["score"] for d in found(BM25(), query, index=index)}
    dense = {
        d.id: d.metadata["score"] for d in found(Dense(), query, index=index, embedder=embedder)
    }
    for one in best:
        scores = one.metadata["scores"]
        assert scores["bm25"] == pytest.approx(sparse.get(one.id, 0.0))
        assert scores["dense"] == pytest.approx(dense[one.id], abs=1e-5)
        assert scores["hybrid"] == one.metadata["score"]
    flow = Flow(Hybrid() >> Rerank(k=1), resources={"index": index, "embedder": embedder})
    assert flow.invoke(query=query)["documents"][0].metadata["source"] == "s0"


@pytest.mark.parametrize("query", ["", " ", "xyzzy", "lock " * 3000, "北閘"])
def test_they_take_any_query(index: Index, embedder: Embedder, query: str) -> None:
    assert len(found(Hybrid(k=3), query, index=index, embedder=embedder)) == 3
    assert len(found(MaxSim(k=3), query, index=index, embedder=embedder)) in (0, 3)


def test_hybrid_filters(index: Index, embedder: Embedder) -> None:
    operator = Hybrid(where={"source": {"$in": ["s1", "s2"]}})
    documents = found(operator, "the north lock", index=index, embedder=embedder)
    assert {one.metadata["source"] for one in documents} == {"s1", "s2"}
    none = Hybrid(where={"source": "nowhere"})
    assert found(none, "the north lock", index=index, embedder=embedder) == []


def test_neighbours_lend_their_scores() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    scores = np.array([2, 0, 1, -1], dtype=np.float32)
    lent = smoothed(scores, vectors, 1, 1.0)
    assert lent.tolist() == [2, 2, 0, 0]
    assert smoothed(scores[:1], vectors[:1], 5, 1.0).tolist() == [2]
    assert standardised(np.ones(3, dtype=np.float32)).tolist() == [0, 0, 0]


def test_max_sim_by_its_definition(index: Index, embedder: Embedder) -> None:
    query = "Who may open the north lock?"
    documents = found(MaxSim(k=5), query, index=index, embedder=embedder)
    asked = embedder.token_vectors([query], query=True)[0]
    wanted = {
        text: float((asked @ tokens.T).max(axis=1).mean())
        for text, tokens in zip(TEXTS, embedder.token_vectors(TEXTS), strict=True)
    }
    assert [one.page_content for one in documents] == sorted(wanted, key=lambda t: -wanted[t])
    for one in documents:
        assert one.metadata["score"] == pytest.approx(wanted[one.page_content], abs=2e-3)


def test_token_vectors_follow_the_index(
    index: Index, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    before = embedder.token_vectors

    def watched(texts: list[str], *, query: bool = False) -> list[np.ndarray]:
        encoded.extend([] if query else texts)
        return before(texts, query=query)

    monkeypatch.setattr(embedder, "token_vectors", watched)
    found(MaxSim(), "lock", index=index, embedder=embedder)
    assert len(encoded) == len(TEXTS)
    index.delete(["s0"])
    plan = index.plan("new", [Chunk("The bakery opens at six.")])
    index.write([SourceUpdate(plan, embedder.embed(plan.texts))])
    documents = found(MaxSim(), "bakery", index=index, embedder=embedder)
    assert documents[0].metadata["source"] == "new"
    assert "s0" not in {one.metadata["source"] for one in documents}
    assert len(encoded) == len(TEXTS) + 1
    reader = Index.open(index.folder)
    found(MaxSim(), "bakery", index=reader, embedder=embedder)
    reader.close()
    assert len(encoded) == len(TEXTS) + 1


def test_derived_data_can_be_damaged_and_deleted(index: Index, embedder: Embedder) -> None:
    first = found(MaxSim(k=2), "the ice breaker", index=index, embedder=embedder)
    (index.folder / FILE).write_bytes(b"no database" * 1000)
    fresh = Index.open(index.folder)
    assert found(MaxSim(k=2), "the ice breaker", index=fresh, embedder=embedder) == first
    fresh.close()
    fresh = Index.open(index.folder)
    for file in index.folder.glob(f"{FILE}*"):
        file.unlink()
    assert found(MaxSim(k=2), "the ice breaker", index=fresh, embedder=embedder) == first
    fresh.close()


def test_an_embedder_without_token_vectors_is_refused(index: Index) -> None:
    other = Embedder.load(DeterministicFakeEmbedding(size=384), base=Path())
    with pytest.raises(StepError, match="has no token vectors"):
        found(MaxSim(), "lock", index=index, embedder=other)


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.splade(tmp_path_factory.mktemp("splade"), TEXTS)


def test_learned_weights_by_their_dot_product(index: Index, splade: Path) -> None:
    from sentence_transformers import SparseEncoder as Model

    encoder = SparseEncoder.load(str(splade), base=Path())
    documents = found(LearnedSparse(k=5), "the north lock", index=index, sparse_encoder=encoder)
    model = Model(str(splade))
    asked = model.encode_query(["the north lock"], convert_to_sparse_tensor=False)[0]
    wanted = {
        text: float(
            (model.encode_document([text], convert_to_sparse_tensor=False)[0] * asked).sum()
        )
        for text in TEXTS
    }
    assert [one.page_content for one in documents] == sorted(
        (text for text in wanted if wanted[text] > 0), key=lambda text: -wanted[text]
    )
    for one in documents:
        assert one.metadata["score"] == pytest.approx(wanted[one.page_content], rel=1e-4)
    again = found(LearnedSparse(k=5), "the north lock", index=index, sparse_encoder=encoder)
    assert again == documents
    assert found(LearnedSparse(), " ", index=index, sparse_encoder=encoder) == []


def test_what_is_no_sparse_encoder_is_said() -> None:
    with pytest.raises(ConfigError, match="describes no SparseEncoder"):
        SparseEncoder.load(7, base=Path())
