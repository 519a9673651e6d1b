"""`rag eval` and `rag bench` at a shell: what they take, what they keep, what they refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError, IndexStateError
from tests.eval.conftest import FACTS, WORDS
from tests.operators import tiny

FIXED = "steps: [{use: bm25, k: 2}, {use: generate}]"


def rag(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def told(*arguments: str | Path) -> Any:
    done = rag(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: str | Path) -> ConfigError:
    done = rag(*arguments)
    assert isinstance(done.exception, ConfigError), done.output
    assert done.exception.fix
    return done.exception


@pytest.mark.slow
def test_rankings_are_measured_and_compared(data: Path, words: Path, tmp_path: Path) -> None:
    out, where = tmp_path / "out", tmp_path / "indexes"
    run = ("eval", "retrieval", "--data", data, "-c", "hybrid", "-c", words)
    hybrid, other = told(*run, "--out", out, "--index", where)["pipelines"]
    assert set(hybrid["means"].values()) == set(other["means"].values()) == {1.0}
    assert (hybrid["queries"], other["gain"]["mean"]) == (2, 0.0)
    assert len(list(where.iterdir())) == 2  # they cut differently
    lines = [json.loads(line) for line in (out / "words.jsonl").read_text().splitlines()]
    assert [line["top"][0] for line in lines] == ["d1", "d2"]
    shown = rag(*run, "--index", where).output
    assert "nDCG@10" in shown
    assert "1.0000" in shown


def test_an_index_that_is_kept_is_of_one_corpus(data: Path, words: Path, tmp_path: Path) -> None:
    run = ("eval", "retrieval", "--data", data, "-c", words, "--index", tmp_path / "indexes")
    told(*run)
    corpus = data / "corpus.jsonl"
    corpus.write_text("\n".join(corpus.read_text().splitlines()[:2]))
    told(*run, "--out", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out/words.jsonl").read_text().splitlines()]
    assert {found for line in lines for found in line["top"]} <= {"d1", "d2"}


@pytest.mark.parametrize(
    ("text", "param", "depth", "says"),
    [
        (WORDS, (), 3, None),
        (WORDS, ("-p", "k=1"), 1, "words ranks 1 documents at most, so R@100 is R@1"),
        (FIXED, (), 2, "words ranks 2 documents at most, so R@100 is R@2"),
    ],
)
def test_the_depth_of_rankings_is_told(
    data: Path, words: Path, text: str, param: tuple[str, ...], depth: int, says: str | None
) -> None:
    words.write_text(text)
    # Every document shares a word with the queries.
    rows = [{"_id": key, "text": f"{text} What north pump"} for key, (_, text) in FACTS.items()]
    (data / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = rag("eval", "retrieval", "--data", data, "-c", words, "--json", *param)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pipelines"][0]["depth"] == depth
    assert (says in done.stderr) if says else ("ranks" not in done.stderr)


def test_a_pipeline_that_loops_is_ranked_without_asking(data: Path) -> None:
    (found,) = told("eval", "retrieval", "--data", data, "-c", "iter_retgen")["pipelines"]
    assert found["means"]["ndcg_at_10"] == 1.0
    assert found["depth"] == 3


@pytest.mark.slow
def test_answers_are_measured_and_compared(data: Path, words: Path, tmp_path: Path) -> None:
    out, html = tmp_path / "out", tmp_path / "report.html"
    (data / "qrels" / "test.tsv").rename(data / "qrels" / "dev.tsv")
    (data / "qrels" / "other.tsv").write_text("q1\td1\t1\n")
    naive, other = told(
        "bench", "pipelines", "--data", data, "--split", "dev", "-c", "naive", "-c", words,
        "--out", out, "--html", html,
    )["pipelines"]  # fmt: skip
    assert (naive["pipeline"], other["pipeline"]) == ("naive", "words")
    assert (naive["questions"], naive["errors"], naive["means"]["llm_calls"]) == (2, 0, 1.0)
    kept = [json.loads(line) for line in (out / "words.jsonl").read_text().splitlines()]
    assert other["means"]["containment"] == sum(one["containment"] for one in kept) / 2
    assert 0 <= other["means"]["faithfulness"] <= 1
    assert html.read_text().count("<svg") == 3


def with_another_model(folder: Path) -> tuple[str, ...]:
    text = WORDS.replace("resources: {", "resources: {llm: {model: smollm2-135m-instruct}, ")
    (folder / "words.yaml").write_text(text)
    return ()


def with_other_documents(folder: Path) -> tuple[str, ...]:
    corpus = folder / "facts" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("120 m", "130 m"))
    return ()


def with_other_answers(folder: Path) -> tuple[str, ...]:
    queries = folder / "facts" / "queries.jsonl"
    queries.write_text(queries.read_text().replace('["120 m"]', '["130 m"]'))
    return ()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda folder: (), 0),
        (lambda folder: ("-c", "naive"), 0),
        (with_another_model, 2),
        (with_other_documents, 2),
        (with_other_answers, 1),
    ],
)
def test_answers_are_kept_while_they_hold(
    data: Path, words: Path, tmp_path: Path, change: Callable[[Path], tuple[str, ...]], again: int
) -> None:
    run = ("eval", "answers", "--data", data, "--out", tmp_path / "out")
    told(*run, "-c", words)
    kept = tmp_path / "out" / "words.jsonl"
    before = kept.read_text().splitlines()
    more = change(tmp_path)
    # Wherever it stands, and with whomever it shares its models.
    told(*run, *more, "-c", words)
    after = kept.read_text().splitlines()
    assert len(after) == 2
    assert len(set(after) - set(before)) == again


def test_a_model_may_judge_what_was_judged_otherwise(
    data: Path, words: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = ("eval", "answers", "--data", data, "-c", words, "--limit", "1", "--out", out)
    assert told(*run)["judge"] != "llm"
    kept = out / "words.jsonl"
    (before,) = kept.read_text().splitlines()
    found = told(*run, "--judge", "llm")
    assert found["judge"] == "llm"
    assert found["pipelines"][0]["means"]["faithfulness"] in (0.0, 0.5, 1.0)
    (after,) = kept.read_text().splitlines()
    assert after != before


def test_a_model_of_inference_may_judge(data: Path, words: Path, tmp_path: Path) -> None:
    place = tiny.nli(tmp_path / "nli", [text for _, text in FACTS.values()])
    words.write_text(WORDS.replace("resources: {", f"resources: {{nli: {place}, "))
    run = ("eval", "answers", "--data", data, "-c", words, "--judge", "nli")
    found = told(*run, "--out", tmp_path / "out")
    assert found["judge"] == "nli"
    # Untrained: of three labels each has about a third, and a half would be support.
    assert found["pipelines"][0]["means"]["faithfulness"] == 0.0
    kept = (tmp_path / "out" / "words.jsonl").read_text()
    assert told(*run, "--out", tmp_path / "out") == found
    assert (tmp_path / "out" / "words.jsonl").read_text() == kept
    words.write_text(WORDS)
    assert "no resource is called 'nli'" in refused(*run).what


def test_what_is_odd_in_the_data_is_said(data: Path, words: Path) -> None:
    with (data / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tgone\t1\n")
    done = rag("eval", "retrieval", "--data", data, "-c", words, "--json")
    assert done.stderr.count("1 of the judged documents are not in corpus.jsonl") == 1
    found = json.loads(done.stdout)
    assert len(found["notes"]) == 1
    assert found["pipelines"][0]["means"]["recall_at_100"] == 0.75


def test_two_pipelines_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "naive.yaml").write_text(WORDS)
    run = ("eval", "answers", "--data", data, "-c", "naive", "-c", tmp_path / "naive.yaml")
    assert "two pipelines are called 'naive'" in refused(*run).what


@pytest.mark.parametrize("command", ["retrieval", "answers"])
@pytest.mark.parametrize("option", ["--out", "--html", "--index"])
def test_where_nothing_can_be_written_is_said_first(
    data: Path, words: Path, tmp_path: Path, command: str, option: str
) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("")
    (folder / "words.jsonl").mkdir(parents=True)
    run = ("eval", command, "--data", data, "-c", words)
    if option == "--html":
        if command == "retrieval":
            return
        places = {
            file / "report.html": "is a file, not a folder",
            file / "below" / "report.html": "Not a directory",
            folder: "is a folder",
        }
    else:
        places = {file: "is a file, not a folder", file / "below": "Not a directory"}
    if option == "--out":
        places[folder] = "is a folder"
    before = sorted(tmp_path.rglob("*"))
    for place, says in places.items():
        error = refused(*run, option, place)
        assert says in error.what
        assert error.fix == f"give another {option}"
    assert sorted(tmp_path.rglob("*")) == before  # nothing was asked


@pytest.mark.parametrize(
    ("library", "command", "options"),
    [("matplotlib", "answers", ("--html", "report.html")), ("ir_measures", "retrieval", ())],
)
def test_what_is_not_installed_is_said_first(
    data: Path,
    words: Path,
    tmp_path: Path,
    library: str,
    command: str,
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    error = refused("eval", command, "--data", data, "-c", words, "--out", out, *options)
    assert "is not installed" in error.what
    assert not out.exists()


def test_a_pipeline_that_cannot_be_measured_is_said_first(
    data: Path, words: Path, tmp_path: Path
) -> None:
    (tmp_path / "silent.yaml").write_text("steps: [{use: bm25, k: 2}]")
    (tmp_path / "blind.yaml").write_text("steps: [{use: rewrite}, {use: bm25, k: 2}]")
    out = ("--out", tmp_path / "out")
    both = ("--data", data, "-c", words, "-c")
    assert (
        "writes no answer" in refused("eval", "answers", *both, tmp_path / "silent.yaml", *out).what
    )
    error = refused("eval", "retrieval", *both, tmp_path / "blind.yaml", *out)
    assert "retrieves no documents" in error.what
    assert not (tmp_path / "out").exists()


def test_questions_are_asked_over_the_index_that_is_there(
    data: Path, words: Path, tmp_path: Path
) -> None:
    """The pipeline's own index, which stays as it is; a change of it counts for kept answers."""
    words.write_text(WORDS.replace("./index", "./own"))
    folder = tmp_path / "documents"
    folder.mkdir()
    for key, (_, text) in FACTS.items():
        (folder / f"{key}.md").write_text(text)
    assert rag("ingest", folder, "-c", words).exit_code == 0
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"question": "How long is the north lock?", "answers": ["120 m"], '
        '"documents": ["d1.md"]}\n'
        '{"question": "What is the salary?", "answers": []}'
    )
    run = ("eval", "answers", "--data", questions, "-c", words, "--out", tmp_path / "out")
    (row,) = told(*run)["pipelines"]
    assert row["means"]["gold_read"] == row["means"]["context_recall"] == 1.0
    assert row["means"]["abstention"] == 1.0  # no word of it is found
    kept = tmp_path / "out" / "words.jsonl"
    before = kept.read_text()
    told(*run)
    assert kept.read_text() == before
    (folder / "d4.md").write_text("The salary is secret.")
    assert rag("ingest", folder, "-c", words).exit_code == 0
    told(*run)
    assert kept.read_text() != before
    (ranked,) = told("eval", "retrieval", "--data", questions, "-c", words)["pipelines"]
    assert (ranked["queries"], ranked["means"]["mrr_at_10"]) == (1, 1.0)


def test_without_an_index_questions_alone_are_refused(words: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "How long?", "answers": ["120 m"]}')
    done = rag("eval", "answers", "--data", questions, "-c", words)
    assert isinstance(done.exception, IndexStateError)


def test_another_pipelines_model_may_judge(data: Path, words: Path, tmp_path: Path) -> None:
    place = tiny.nli(tmp_path / "nli", [text for _, text in FACTS.values()])
    judge = tmp_path / "judge.yaml"
    judge.write_text(WORDS.replace("resources: {", f"resources: {{nli: {place}, "))
    run = ("eval", "answers", "--data", data, "-c", words, "--judge", "nli")
    assert told(*run, "--judge-config", judge)["judge"] == "nli"
