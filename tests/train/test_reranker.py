"""Training a cross-encoder, and the teachers whose margins it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag.eval.loading import load_dataset
from rag.flow import Flow
from rag.models import CrossEncoder
from rag.operators import CrossRerank
from rag.operators.scores import with_prior
from rag.testing.encoders import ScriptedEmbedder, ScriptedReranker
from rag.train import triples
from rag.train.asked import questions
from rag.train.course import Course
from rag.train.gate import GateError
from rag.train.ranker import train_ranker
from rag.train.reranker import RerankerSettings
from rag.train.teachers import teacher_of
from rag.train.triples import Mining, mined
from tests.operators.tiny import cross_encoder
from tests.train.synonyms import ASKED, SAID, collection, encoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))


def test_it_is_measured_beside_rerank_and_opens_by_its_path(tmp_path: Path) -> None:
    base = encoder(tmp_path / "model")
    asked = questions(load_dataset(collection(tmp_path / "synonyms")))
    settings = RerankerSettings(
        str(base), str(base), prior=1.0, course=Course(rate=5e-3, epochs=1),
        mining=Mining(each=2, depth=20),
    )  # fmt: skip
    out = tmp_path / "mine"
    verdicts = train_ranker(asked, settings, out, {}, licence="CC0", force=True)
    names = [(one.name, one.measure, one.gates) for one in verdicts]
    assert names[0] == ("held-out", "nDCG@10", True)
    assert ("held-out, alone", "nDCG@10", False) in names
    assert sum(one.gates for one in verdicts) == 1
    assert "{use: cross_rerank, prior: 1}" in (out / "README.md").read_text()
    assert json.loads((out / "training.json").read_text())["settings"]["teacher"] == "rerank"
    flow = Flow(
        CrossRerank(k=2), inputs={"query": str, "documents": list[Document]},
        resources={"reranker": str(out)},
    )  # fmt: skip
    given = [Document(page_content=one) for one in SAID[:3]]
    assert len(flow.invoke(query=ASKED[0], documents=given)["documents"]) == 2
    lazy = RerankerSettings(
        str(out), str(base), course=Course(rate=1e-12, epochs=1), prior=1000.0,
        mining=Mining(each=1, depth=20),
    )  # fmt: skip
    with pytest.raises(GateError, match="nothing was saved"):
        train_ranker(asked, lazy, tmp_path / "lazy", {})
    assert not (tmp_path / "lazy").exists()


def test_teachers_score_each_document(tmp_path: Path) -> None:
    documents = [Document(id=one, page_content=one) for one in ("lock gate", "boat", "lock")]
    found = teacher_of("rerank", ScriptedEmbedder())("lock", documents)
    assert set(found) == {"lock gate", "boat", "lock"}
    assert found["lock"] > found["boat"]
    folder = cross_encoder(tmp_path / "cross", ["lock gate boat"])
    named = teacher_of(str(folder), ScriptedEmbedder())("lock", documents)
    scores = CrossEncoder.load(str(folder)).score("lock", [one.page_content for one in documents])
    assert [named[one.page_content] for one in documents] == pytest.approx(scores, abs=1e-5)


def test_negatives_are_found_and_judgements_count_more_than_the_teacher(tmp_path: Path) -> None:
    from rag.eval.corpus import Corpus
    from rag.eval.dataset import Dataset, Query
    from rag.operators import Dense

    texts = {"a": "north lock", "b": "north boat", "c": "north gate", "d": "south pier"}
    documents = [Document(id=k, page_content=v, metadata={"source": k}) for k, v in texts.items()]
    queries = [
        Query("q", "north", {"a": 1, "c": 0, "gone": 1}, ()),
        Query("r", "south", {"d": 1}, ()),
    ]
    data = Dataset("toy", documents, queries)
    flow = Flow(
        Dense(k=2), inputs={"query": str},
        resources={"index": str(tmp_path / "index"), "embedder": ScriptedEmbedder()},
    )  # fmt: skip

    def against(question: str, given: object) -> dict[str, float]:
        assert isinstance(given, list)
        return {str(one.id): float(one.page_content != "north lock") for one in given}

    with Corpus(data) as corpus:
        bound = corpus.bind(flow)
        plain = mined(bound, data, Mining(depth=4, each=2))
        taught = mined(bound, data, Mining(depth=4, each=2), against, spread=1.0)
    assert {(one.query, one.positive) for one in plain} == {
        ("q", "north lock"),
        ("r", "south pier"),
    }
    assert all(one.negative != one.positive for one in plain)
    assert {one.margin for one in plain} == {0.0}
    assert [one.negative for one in plain] == [one.negative for one in taught]
    assert {one.margin for one in taught if one.query == "q"} == {triples.JUDGED}
    found = triples.answering(plain, data)
    assert found["north"] == {"north lock"}


def test_current_scores_count_as_the_prior_says() -> None:
    documents = [
        Document(page_content=text, metadata={"score": score})
        for text, score in (("lock", 0.0), ("boat", 10.0), ("pier", 0.0))
    ]
    assert with_prior([1.0, 0.5, 0.0], documents, 0.0) == [1.0, 0.5, 0.0]
    both = with_prior([1.0, 0.5, 0.0], documents, 3.0)
    assert max(range(3), key=lambda at: both[at]) == 1
    for prior, first in ((0.0, "lock"), (5.0, "boat")):
        flow = Flow(
            CrossRerank(k=1, prior=prior), inputs={"query": str, "documents": list[Document]},
            resources={"reranker": ScriptedReranker({"lock": 1.0, "boat": 0.5, "pier": 0.0})},
        )  # fmt: skip
        (best,) = flow.invoke(query="lock", documents=documents)["documents"]
        assert best.page_content == first
