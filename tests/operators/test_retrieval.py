"""Retrieval, fusion, reranking and packing over a real index and the real embedder."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag.errors import StepError
from rag.flow import Flow, Parallel
from rag.flow.run.events import Warned
from rag.index import Index, IndexWriter
from rag.models import LLM, Embedder
from rag.operators import BM25, RRF, Dense, Pack, Rerank, SelectSentences

TEXTS = [
    "The north lock may be opened by the keeper on duty and by the harbour master.",
    "The south lock opens at six in the morning from April to October.",
    "Pump P-17 lifts 240 litres per second and is serviced every March.",
    "Visitors pay four crowns for the boat lift; children go free.",
    "The ice breaker Hedda sails when the ice is thicker than eight centimetres.",
]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> dict[str, object]:
    path = tmp_path_factory.mktemp("index")
    documents = [
        Document(
            page_content=text, metadata={"source": f"s{n}", "path": f"s{n}.md", "even": n % 2 == 0}
        )
        for n, text in enumerate(TEXTS)
    ]
    IndexWriter(path / "index").write(documents, embedder)
    return {"index": Index.open(path / "index"), "embedder": embedder}


def found(flow: Flow, query: str) -> list[str]:
    return [document.metadata["source"] for document in flow.invoke(query=query)["documents"]]


def test_dense_finds_by_meaning(resources: dict[str, object]) -> None:
    flow = Flow(Dense(k=2), resources=resources)
    assert found(flow, "What does a ticket cost?")[0] == "s3"
    assert len(found(flow, "anything")) == 2


def test_bm25_finds_by_words(resources: dict[str, object]) -> None:
    flow = Flow(BM25(k=3), resources=resources)
    assert found(flow, "P-17")[0] == "s2"
    assert found(flow, "xyzzy") == []
    assert found(flow, "") == []


def test_metadata_filters_are_pushed_down(resources: dict[str, object]) -> None:
    for operator in (Dense(k=5, where={"even": True}), BM25(k=5, where={"even": True})):
        assert set(found(Flow(operator, resources=resources), "the lock pump ice")) <= {
            "s0",
            "s2",
            "s4",
        }


def test_hybrid_keeps_every_score(resources: dict[str, object]) -> None:
    flow = Flow(
        Parallel(sparse=BM25(), dense=Dense(), join=RRF()) >> Rerank(k=3), resources=resources
    )
    best = flow.invoke(query="Who may open the north lock?")["documents"][0]
    assert best.metadata["source"] == "s0"
    assert set(best.metadata["scores"]) == {"bm25", "dense", "rrf", "rerank"}
    assert best.metadata["score"] == best.metadata["scores"]["rerank"]


def test_rrf_is_the_sum_of_reciprocal_ranks() -> None:
    a, b, c = (Document(page_content=name, id=name) for name in "abc")
    fused = RRF(c=60).invoke(documents=[[a, b], [b, c]])["documents"]
    assert [document.id for document in fused] == ["b", "a", "c"]
    assert fused[0].metadata["score"] == pytest.approx(1 / 62 + 1 / 61)


def test_rerank_passes_over_nothing(resources: dict[str, object]) -> None:
    flow = Flow(Rerank(k=2), inputs={"query": str, "documents": list}, resources=resources)
    assert flow.invoke(query="x", documents=[])["documents"] == []
    one = [Document(page_content="only")]
    assert flow.invoke(query=" ", documents=one)["documents"] == one


def test_another_embedder_is_refused(resources: dict[str, object]) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    other = Embedder.load(DeterministicFakeEmbedding(size=384), base=Path())
    with pytest.raises(StepError, match="made with") as caught:
        Flow(Dense(), resources={**resources, "embedder": other}).invoke(query="x")
    assert caught.value.exit_code == 4
    assert caught.value.fix


def test_pack_keeps_what_fits_and_says_what_not(llm: LLM) -> None:
    documents = [Document(page_content="word " * n, id=str(n)) for n in (20, 200, 30)]
    flow = Flow(Pack(tokens=60), inputs={"documents": list[Document]}, resources={"llm": llm})
    events = list(flow.stream(documents=documents))
    assert [document.id for document in events[-1].result["documents"]] == ["20", "30"]
    assert [e.message for e in events if isinstance(e, Warned)] == ["1 of 3 documents left out"]


def test_pack_cuts_the_first_when_nothing_fits(llm: LLM) -> None:
    flow = Flow(Pack(tokens=10), inputs={"documents": list[Document]}, resources={"llm": llm})
    (kept,) = flow.invoke(documents=[Document(page_content="word " * 100)])["documents"]
    assert 0 < llm.count(kept.page_content) <= 10


def test_extract_keeps_the_sentences_that_matter(embedder: Embedder) -> None:
    documents = [
        Document(
            page_content="# Pumps\n\nThe hall is painted green. "
            "Pump P-17 lifts 240 litres per second. "
            "Lunch is at noon.\n\n| Pump | Power |\n|---|---|\n| P-17 | 45 kW |",
            metadata={"path": "pumps.md", "start": 7},
        ),
        Document(page_content="The bakery opens at six."),
    ]
    flow = Flow(
        SelectSentences(sentences=2),
        inputs={"query": str, "documents": list[Document]},
        resources={"embedder": embedder},
    )
    (kept,) = flow.invoke(query="What does pump P-17 lift?", documents=documents)["documents"]
    assert "240 litres" in kept.page_content
    assert "painted" not in kept.page_content
    assert kept.metadata == documents[0].metadata
    assert flow.invoke(query=" ", documents=documents)["documents"] == documents
