"""Evaluation over a small data set in BEIR's format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from langchain_core.documents import Document
from rag.pipelines import path
from typer.testing import CliRunner

from rag import operator
from rag.cli.main import app
from rag.errors import ConfigError
from rag.eval.beir import load
from rag.eval.metrics import contains, exact_match, token_f1
from rag.eval.ranking import rank_all, ranking_rows, retrieval_part
from rag.flow import Flow, load_flow

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


PIPELINE = """
name: words
resources: {index: {path: ./index, chunk_size: 40}, embedder: all-minilm-l6-v2}
steps:
  - {use: bm25, k: "${k:4}"}
  - {use: generate, max_tokens: 12}
  - {use: cite}
"""


def rag(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_rankings_are_measured_and_compared(data: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.yaml"
    words.write_text(PIPELINE)
    out, where = tmp_path / "out", tmp_path / "indexes"
    run = ["eval", "retrieval", "--data", str(data), "-c", "hybrid", "-c", str(words)]
    done = rag(*run, "--json", "--out", str(out), "--index", str(where))
    assert done.exit_code == 0, done.output
    hybrid, other = json.loads(done.stdout)["pipelines"]
    assert set(hybrid["means"].values()) == set(other["means"].values()) == {1.0}
    assert (hybrid["queries"], other["gain"]["mean"]) == (2, 0.0)
    assert len(list(where.iterdir())) == 2  # they cut differently
    lines = [json.loads(line) for line in (out / "words.jsonl").read_text().splitlines()]
    assert [line["found"][0] for line in lines] == ["d1", "d2"]
    shown = rag(*run, "--index", str(where)).output
    assert "nDCG@10" in shown
    assert "1.0000" in shown


def test_a_query_that_finds_nothing_counts(data: Path) -> None:
    @operator(writes="documents")
    def nothing(query: str) -> list[Document]:
        return []

    found = load(data)
    ranked = rank_all(Flow(nothing()), found, quiet)
    assert [one.ndcg_at_10 for one in ranked] == [0.0, 0.0]
    assert ranking_rows({"it": ranked})[0].means["recall_at_100"] == 0.0


def test_answers_are_measured_and_compared(data: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.yaml"
    words.write_text(PIPELINE)
    out, html = tmp_path / "out", tmp_path / "report.html"
    done = rag(
        "bench", "pipelines", "--data", str(data), "-c", "naive", "-c", str(words), "--json",
        "--out", str(out), "--html", str(html),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    naive, other = json.loads(done.stdout)["pipelines"]
    assert (naive["pipeline"], other["pipeline"]) == ("naive", "words")
    assert (naive["questions"], naive["errors"], naive["means"]["llm_calls"]) == (2, 0, 1.0)
    kept = [json.loads(line) for line in (out / "words.jsonl").read_text().splitlines()]
    assert other["means"]["containment"] == sum(one["containment"] for one in kept) / 2
    assert 0 <= other["means"]["faithfulness"] <= 1
    assert html.read_text().count("<svg") == 2


def test_a_model_may_judge(data: Path) -> None:
    run = ("eval", "answers", "--data", str(data), "-c", "naive", "--judge", "llm", "--limit", "1")
    done = rag(*run, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["judge"] == "llm"
    assert found["pipelines"][0]["means"]["faithfulness"] in (0.0, 0.5, 1.0)


def test_two_pipelines_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "naive.yaml").write_text(PIPELINE)
    run = (
        "eval",
        "answers",
        "--data",
        str(data),
        "-c",
        "naive",
        "-c",
        str(tmp_path / "naive.yaml"),
    )
    with pytest.raises(ConfigError, match="two pipelines are called 'naive'"):
        CliRunner().invoke(app, run, catch_exceptions=False)


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
