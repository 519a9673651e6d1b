"""Whole documents ranked by the vectors of their chunks."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.flow import Flow
from rag.index import Index, IndexWriter
from rag.index.local import search
from rag.index.ranking import TEMPERATURE
from rag.operators import DenseDocuments, Parents
from rag.testing.encoders import ScriptedEmbedder

QUERY = [1.0, 0.0, 0.0]
PARTS = {
    "one": {"one a": [0.9, 0.4, 0.1], "one b": [0.0, 0.0, 1.0], "one c": [0.0, 0.1, 1.0]},
    "two": {"two a": [0.6, 0.5, 0.1], "two b": [0.6, 0.1, 0.5]},
    "far": {"far a": [-0.9, 0.1, 0.0]},
}
VECTORS = {text: vector for parts in PARTS.values() for text, vector in parts.items()}


def embedder() -> ScriptedEmbedder:
    return ScriptedEmbedder(dim=3, vectors={**VECTORS, "query": QUERY})


@pytest.fixture
def index(tmp_path: Path) -> Any:
    documents = [
        Document(page_content=text, metadata={"source": source, "start": 9 * n, "kind": text[-1]})
        for source, parts in PARTS.items()
        for n, text in enumerate(parts)
    ]
    IndexWriter(tmp_path / "i").write(documents, embedder())
    with closing(Index.open(tmp_path / "i")) as opened:
        yield opened


def found(index: Index, node: Any) -> list[Document]:
    flow = Flow(node, inputs={"query": str}, resources={"index": index, "embedder": embedder()})
    documents: list[Document] = flow.invoke(query="query")["documents"]
    return documents


def expected(aggregate: str) -> dict[str, float]:
    """The definition, document by document."""
    scores = {}
    for source, parts in PARTS.items():
        rows = np.array(list(parts.values()))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = rows @ np.array(QUERY)
        weights = np.exp(cosines / TEMPERATURE)
        mean = rows.mean(axis=0)
        scores[source] = {
            "max": cosines.max(),
            "attention": (weights * cosines).sum() / weights.sum(),
            "mean": mean @ np.array(QUERY) / np.linalg.norm(mean),
        }[aggregate]
    return scores


@pytest.mark.parametrize("block", [1, 3, search.BLOCK])
@pytest.mark.parametrize("aggregate", ["mean", "max", "attention"])
def test_scores_are_as_defined(
    index: Index, aggregate: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BLOCK", block)
    documents = found(index, DenseDocuments(aggregate=aggregate))
    scores = {one.metadata["source"]: one.metadata["score"] for one in documents}
    assert scores == pytest.approx(expected(aggregate), abs=1e-5)
    assert list(scores) == sorted(scores, key=lambda source: -scores[source])


def test_the_best_part_and_the_whole_rank_differently(index: Index) -> None:
    def first(aggregate: Any) -> str:
        return str(found(index, DenseDocuments(aggregate=aggregate))[0].metadata["source"])

    assert (first("max"), first("mean")) == ("one", "two")


def test_a_document_is_its_nearest_chunk_and_may_become_the_whole(index: Index) -> None:
    documents = found(index, DenseDocuments(k=2, aggregate="max"))
    assert [one.page_content for one in documents] == ["one a", "two a"]
    whole = found(index, DenseDocuments(k=1, aggregate="max") >> Parents(of="document"))
    assert whole[0].page_content.split() == ["one", "a", "one", "b", "one", "c"]


def test_only_chunks_that_a_filter_lets_through_count(index: Index) -> None:
    documents = found(index, DenseDocuments(where={"kind": "b"}))
    assert [one.page_content for one in documents] == ["two b", "one b"]
    assert found(index, DenseDocuments(where={"kind": "z"})) == []


def test_an_empty_index_has_no_documents(tmp_path: Path) -> None:
    used = embedder()
    Index.writer(tmp_path / "e", embedder=used.id, dim=used.dim).close()
    with closing(Index.open(tmp_path / "e")) as index:
        assert found(index, DenseDocuments()) == []
