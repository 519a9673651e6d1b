"""`rag tune` and `rag check` at a shell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rag.errors import BuildError, ConfigError
from rag.flow import load_flow
from rag.models import LLM
from rag.pipelines import names, path, spaces
from rag.tune.check import check
from rag.tune.documents import read_documents
from rag.tune.job import Job, joined
from rag.tune.read import read_tuning
from tests.eval.test_commands import rag, refused, told

TOPICS = ("lock", "pump", "tug", "crane", "ferry", "canal", "gate", "bridge")
PIPELINE = """\
name: words
resources: {index: {path: ./index, chunk_size: 64, chunk_overlap: 0}, embedder: all-minilm-l6-v2}
steps:
  - {use: bm25, k: "${k:1}"}
tune:
  maximise: recall_at_10
  budget: 64
  block: 4
  waves: 1
  sampler: grid
  space:
    params.k: [1, 3, 12]
    resources.index.chunk_size: [32, 64]
"""


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """Forty questions, whose documents a search for one word finds among five."""
    folder = tmp_path / "facts"
    (folder / "qrels").mkdir(parents=True)
    rows, queries, judged = [], [], ["query-id\tcorpus-id\tscore"]
    for n in range(40):
        topic = TOPICS[n % 8]
        text = f"The {topic} of the year {1900 + n} is {n * 7 + 3} metres long."
        rows.append({"_id": f"d{n}", "title": "", "text": text})
        queries.append({"_id": f"q{n}", "text": f"the long {topic}, question {n}"})
        judged.append(f"q{n}\td{n}\t1")
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n")
    (tmp_path / "words.yaml").write_text(PIPELINE)
    return folder


@pytest.mark.slow
def test_a_better_pipeline_is_found_and_written(
    facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("tune", "-c", "words.yaml", "--data", facts)
    found = told(*run, "--workers", "2", "--html", "report.html")
    best, *_ = found["front"]
    assert best["config"]["params.k"] == "12"
    assert best["held"]["recall_at_10"] == 1.0
    assert best["gains"]["recall_at_10"]["low"] > 0
    assert (found["held"], found["spent"] <= 64) == (20, True)
    text = (tmp_path / "words.tuned.yaml").read_text()
    assert text.startswith("# Found by `rag tune`, from words: k=12")
    assert "on 20 questions that the search never saw, gains +" in text
    (step,) = load_flow(tmp_path / "words.tuned.yaml").steps.values()
    assert step.k == 12  # type: ignore[attr-defined]
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") == 1
    assert "What was dropped" in report
    # Two ways to fill it, each once.
    indexes = [one for one in (tmp_path / "words.study" / "indexes").iterdir() if one.is_dir()]
    assert len(indexes) == 2
    assert told(*run)["front"] == found["front"]  # nothing is asked again
    assert "the study is over" in rag("tune", "worker", "--study", "words.study").stdout
    shown = rag(*run).stdout
    assert "as written" in shown
    assert "wrote" in shown
    error = refused(*run, "--seed", "3")
    assert "another space, other settings or other questions" in error.what


def test_check_knows_the_space(facts: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    assert "2 dimensions, configurations: 6" in rag("check", file).stdout
    shown = told("check", file)["tune"]
    assert shown == {
        "dimensions": ["params.k", "resources.index.chunk_size"], "configurations": 6,
    }  # fmt: skip
    file.write_text(PIPELINE.replace("params.k:", "params.q:"))
    done = rag("check", file)
    assert isinstance(done.exception, BuildError)
    assert "words.yaml:12: params.q" in str(done.exception)
    file.write_text("steps: [{use: bm25, k: 1}]  # tune: nothing")
    assert "tune" not in told("check", file)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there is no data set"),
        (("--data", "facts", "--out", "elsewhere/best.yaml"), "relative to the pipeline's folder"),
        (("--data", "facts", "--budget", "3"), "too small for a race"),
        (("--data", "facts", "--storage", "mysql://x"), "there is no such storage"),
        (("--data", "facts", "--documents", "facts"), "has a corpus of its own"),
    ],
)
def test_what_cannot_be_tuned_says_so(
    facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused("tune", "-c", "words.yaml", *arguments).what


def test_a_worker_elsewhere_names_its_own_paths(facts: Path, tmp_path: Path) -> None:
    """The same file and questions in another folder are the same study; changed ones are not."""
    job = Job(str(tmp_path / "words.yaml"), str(facts), str(tmp_path / "study"))
    with job.open() as study:
        digest = (study.state.start or {})["digest"]
    there = tmp_path / "there"
    shutil.copytree(facts, there / "facts")
    shutil.copy(tmp_path / "words.yaml", there / "words.yaml")
    paths = {"pipeline": str(there / "words.yaml"), "data": str(there / "facts")}
    with joined(tmp_path / "study", None, **paths).open() as study:
        assert (study.state.start or {})["digest"] == digest
    (there / "words.yaml").write_text(PIPELINE.replace("12]", "13]"))
    with pytest.raises(ConfigError, match="another space"):
        joined(tmp_path / "study", None, **paths).open()


def test_a_worker_needs_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.study").mkdir()
    error = refused("tune", "worker", "--study", "mine.studi")
    assert "did you mean 'mine.study'" in (error.fix or "")
    assert "has not begun" in refused("tune", "worker", "--study", "mine.study").what


def test_files_may_be_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Locks\n\nThe north lock is long.")
    (tmp_path / "docs" / "b.txt").write_text("A pump.")
    found = read_documents([tmp_path / "docs"])
    assert [one.id for one in found] == ["a.md", "b.txt"]
    assert {one.metadata["source"] for one in found} == {"a.md", "b.txt"}
    with pytest.raises(ConfigError, match="there are no documents"):
        read_documents([tmp_path / "nothing"])


def test_the_space_of_archon_fits_together() -> None:
    assert "archon.tune" in spaces()
    assert "archon.tune" not in names()
    space = read_tuning(path("archon.tune")).space
    check(space)
    plain = {
        "steps.rank_answers.k": "1", "steps.generators/second.temperature": "0.3",
        "steps.select_context.sentences": "2",
    }  # fmt: skip
    labels = {
        tuple(step.label for step in space.build(config).steps.values())[5:]
        for config in space.grid()
        if all(config.get(name, value) == value for name, value in plain.items())
    }
    assert ("generate", "cite") in labels
    assert len(labels) == 1 + 10 * 4  # architectures and numbers of answers


def test_the_space_of_quotations_is_hybrid_as_it_is_written() -> None:
    found = read_tuning(path("hybrid.tune"))
    check(found.space)
    steps = list(found.flow.steps.values())
    assert [one.label for one in steps][-3:] == ["rerank", "quote", "cite"]
    assert steps[-3].k == 8  # type: ignore[attr-defined]
    assert not any(issubclass(kind, LLM) for _, _, kind in found.flow.needs)
