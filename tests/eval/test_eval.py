"""Evaluation over a small data set in BEIR's format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rag.pipelines import path

from rag.errors import ConfigError
from rag.eval.beir import load
from rag.eval.metrics import contains, exact_match, token_f1
from rag.eval.run import evaluate_answers, evaluate_retrieval, indexed, retrieval_part
from rag.flow import Flow, load_flow
from rag.llm import LLM, Embedder

FACTS = {
    "d1": ("Locks", "The north lock is 120 m long and was built in 1911."),
    "d2": ("Pumps", "Pump P-17 lifts 240 litres per second."),
    "d3": ("Ice", "The tug Hedda breaks ice of up to 35 cm."),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "facts"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": key, "title": title, "text": text} for key, (title, text) in FACTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [
        {"_id": "q1", "text": "How long is the north lock?", "metadata": {"answers": ["120 m"]}},
        {"_id": "q2", "text": "What does pump P-17 lift?", "metadata": {"answers": ["240 litres"]}},
        {"_id": "q3", "text": "not judged"},
    ]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    return folder


def quiet(what: str, done: int, total: int) -> None:
    """No progress bar."""


def test_a_data_set_is_read(data: Path) -> None:
    found = load(data)
    assert [query.id for query in found.queries] == ["q1", "q2"]
    assert len(found.documents) == 3
    assert len(load(data, limit=1).queries) == 1
    assert load(data, limit=1, seed=3).queries == load(data, limit=1, seed=3).queries


def test_what_is_no_data_set_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no judgements"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="no judgements dev"):
        load(data, split="dev")
    (data / "corpus.jsonl").write_text('{"_id": "d1"\n')
    with pytest.raises(ConfigError, match="not JSON") as caught:
        load(data)
    assert str(caught.value.where).endswith("corpus.jsonl:1")


def test_retrieval_and_answers_are_measured(data: Path, embedder: Embedder, llm: LLM) -> None:
    found = load(data)
    flow = load_flow(path("hybrid"), params={"k": 10})
    with indexed(found, embedder, None, quiet) as index:
        bound = flow.with_resources(index=index, embedder=embedder, llm=llm)
        retrieval = evaluate_retrieval(bound, found, quiet)
        rows: list[dict[str, object]] = []
        answers = evaluate_answers(bound, found, quiet, rows.append)
    assert (retrieval.ndcg_at_10, retrieval.recall_at_10, retrieval.mrr_at_10) == (1.0, 1.0, 1.0)
    assert answers.questions == len(rows) == 2
    assert answers.containment == sum(float(str(row["containment"])) for row in rows) / 2


def test_the_retrieval_part_ends_before_the_language_model() -> None:
    part = retrieval_part(load_flow(path("hybrid")))
    assert [node.label for node in part.node.nodes[1:]] == ["rerank"]  # type: ignore[attr-defined]
    assert isinstance(part, Flow)


@pytest.mark.parametrize(
    ("answer", "em", "f1", "contained"),
    [
        ("The 120 m.", 1.0, 1.0, 1.0),
        ("It is 120 m long", 0.0, pytest.approx(4 / 7), 1.0),
        ("1120 m", 0.0, 0.5, 0.0),
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_answer_measures(answer: str, em: float, f1: float, contained: float) -> None:
    assert exact_match(answer, ["120 m"]) == em
    assert token_f1(answer, ["120 m", "something else"]) == f1
    assert contains(answer, ["120 m"]) == contained
