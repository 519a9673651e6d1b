"""Attention over chunks: what it learns, what ranks by it, the gate, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.errors import ConfigError, StepError
from rag.eval.dataset import Dataset, Query
from rag.flow import Flow
from rag.index import Index, IndexWriter
from rag.index.aggregator import Aggregator
from rag.index.attention import LearnedAttention
from rag.operators import DenseDocuments
from rag.testing.encoders import ScriptedEmbedder
from rag.train import aggregate
from rag.train.aggregate import AggregateSettings, Chunks, learn
from rag.train.asked import questions
from rag.train.ranker import train_ranker
from tests.cli.command import rag
from tests.train.synonyms import SAID, collection, encoder

DIM = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))


def misleading(seed: int, count: int = 30) -> tuple[Chunks, np.ndarray, np.ndarray]:
    """Documents of two chunks: one that tells, one that looks like any question and is marked.

    The mark is the last dimension, which no question has.
    """
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(count, DIM - 1))
    questions = topics + 0.3 * rng.normal(size=topics.shape)
    others = questions[rng.permutation(count)]
    rows = []
    for at in range(count):
        rows += [np.append(topics[at], 0.0), np.append(others[at], 1.5)]
    vectors = np.array(rows, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.concatenate([questions, np.zeros((count, 1))], axis=1).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return Chunks(vectors, np.repeat(np.arange(count), 2)), queries, np.eye(count, dtype=bool)


def test_chunks_that_mislead_are_weighed_less() -> None:
    settings = AggregateSettings("none", rate=0.1)
    found = learn(*misleading(1), settings, "e@1")
    assert found.weights.argmin() == DIM - 1
    assert found.weights[-1] < -1
    assert (found.embedder, found.weights.dtype) == ("e@1", np.float32)
    assert 0.03 <= found.temperature < 1
    assert 0 < found.mean < 1
    again = learn(*misleading(1), settings, "e@1")
    assert np.array_equal(found.weights, again.weights)


def test_it_is_read_as_it_was_saved_and_refused_where_damaged(tmp_path: Path) -> None:
    kept = LearnedAttention(np.arange(3, dtype=np.float32), 0.2, 0.25, "e@1")
    kept.save(tmp_path / "sea")
    found = Aggregator.load("sea", base=tmp_path)
    assert isinstance(found.aggregate, LearnedAttention)
    assert np.array_equal(found.aggregate.weights, kept.weights)
    assert found.version() != Aggregator.load("max").version()
    assert Aggregator.load("max").aggregate == "max"
    assert Aggregator.absent("sea", base=tmp_path) is None
    assert Aggregator.absent("mean", base=tmp_path) is None
    assert "neither mean, max, attention" in str(Aggregator.absent("most", base=tmp_path))
    (tmp_path / "sea" / "aggregate.safetensors").write_bytes(b"half")
    with pytest.raises(ConfigError, match="no learned attention can be read"):
        Aggregator.load("sea", base=tmp_path)


def test_documents_are_ranked_by_it_and_only_over_its_own_vectors(tmp_path: Path) -> None:
    vectors = {"a": [1.0, 0.0, 0.0], "b": [0.6, 0.0, 0.8], "c": [0.9, 0.4, 0.0], "q": [1.0, 0, 0]}
    embedder = ScriptedEmbedder(dim=3, vectors=vectors)
    rows = [("a", "one"), ("b", "one"), ("c", "two")]
    documents = [
        Document(page_content=text, metadata={"source": source, "start": n})
        for n, (text, source) in enumerate(rows)
    ]
    IndexWriter(tmp_path / "i").write(documents, embedder)
    heavy = LearnedAttention(np.array([0, 0, 9], dtype=np.float32), 0.1, 0.0, embedder.id)
    heavy.save(tmp_path / "sea")

    def first(aggregator: str) -> str:
        flow = Flow(
            DenseDocuments(k=1), inputs={"query": str},
            resources={
                "index": str(tmp_path / "i"), "embedder": embedder, "aggregator": aggregator,
            },
        )  # fmt: skip
        with flow:
            return str(flow.invoke(query="q")["documents"][0].metadata["source"])

    assert first("max") == "one"
    assert first(str(tmp_path / "sea")) == "two"
    LearnedAttention(heavy.weights, 0.1, 0.0, "other@1").save(tmp_path / "foreign")
    with pytest.raises(StepError, match="learned on vectors of other@1"):
        first(str(tmp_path / "foreign"))


def test_it_learns_from_the_vectors_of_the_index(tmp_path: Path) -> None:
    embedder = ScriptedEmbedder(dim=16)
    documents = [
        Document(page_content=f"{word} part{n}", metadata={"source": f"d{m}", "start": n})
        for m, word in enumerate(SAID)
        for n in range(3)
    ]
    IndexWriter(tmp_path / "i").write(documents, embedder)
    index = Index.open(tmp_path / "i")
    chunks, called = aggregate._chunks(index, ["d3", "d1"])
    assert called == [("d1", ""), ("d3", "")]
    assert chunks.sources.tolist() == [0, 0, 0, 1, 1, 1]
    texts = [f"{SAID[m]} part{n}" for m in (1, 3) for n in range(3)]
    wanted = embedder.embed(texts)
    near = chunks.vectors @ wanted.T
    assert sorted(near[:3].argmax(axis=1).tolist()) == [0, 1, 2]
    assert sorted(near[3:].argmax(axis=1).tolist()) == [3, 4, 5]
    index.close()


def test_the_command_trains_measures_and_saves(tmp_path: Path) -> None:
    base = encoder(tmp_path / "model")
    collection(tmp_path / "data")
    said = rag(
        "train", "aggregate", "--out", "sea", "--data", "data", "--model", str(base),
        "--epochs", "2", "--force", "--json", cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(said[said.index("{") :])
    assert [one["measure"] for one in found["results"]] == ["nDCG@10", "MRR@10", "recall@10"]
    assert "aggregator: ./sea" in (tmp_path / "sea" / "README.md").read_text()
    assert isinstance(Aggregator.load("sea", base=tmp_path).aggregate, LearnedAttention)
    said = rag("train", "aggregate", "--out", "sea", "--data", "data", cwd=tmp_path, code=2)
    assert "is there already" in said


def test_an_index_without_the_judged_documents_is_refused(tmp_path: Path) -> None:
    base = encoder(tmp_path / "model")
    documents = [Document(id="x", page_content=SAID[0], metadata={"source": "x"})]
    queries = [Query(f"q{n}", f"{SAID[n % 11]} {n}", {f"gone{n}": 1}, ()) for n in range(40)]
    asked = questions(Dataset("toy", documents, queries))
    with pytest.raises(ConfigError, match="none of the judged documents"):
        train_ranker(asked, AggregateSettings(str(base)), tmp_path / "out", {})
