"""Training an embedder: it finds what it learned, opens by its path, goes on, refuses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.errors import ConfigError, IndexStateError
from rag.eval.loading import load_dataset
from rag.index import Index, IndexWriter
from rag.models import Embedder
from rag.models.local.embedder import LocalEmbedder
from rag.models.local.encoder.native import NativeEncoder
from rag.train import course as courses
from rag.train.asked import Questions, questions
from rag.train.course import Course
from rag.train.embedder import EmbedderSettings
from rag.train.gate import GateError
from rag.train.ranker import train_ranker
from rag.train.triples import Mining
from tests.cli.command import rag
from tests.train.synonyms import ASKED, SAID, collection, encoder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    return questions(load_dataset(collection(tmp_path_factory.mktemp("data") / "synonyms")))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))


def settings(base: Path, **how: Any) -> EmbedderSettings:
    """Enough for the pairs of words."""
    course = Course(rate=how.pop("rate", 8e-3), epochs=how.pop("epochs", 2))
    return EmbedderSettings(str(base), course=course, mining=Mining(each=3), **how)


def test_a_trained_embedder_passes_and_opens_by_its_path(
    base: Path, asked: Questions, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    verdicts = train_ranker(asked, settings(base), out, {"data": "toy"}, licence="CC0")
    assert "Loading weights" not in capfd.readouterr().err
    (gate,) = [one for one in verdicts if one.gates]
    assert (gate.measure, len(gate.before)) == ("nDCG@10", len(asked.held_out.queries))
    assert gate.gain is not None
    assert gate.gain.low > 0.3
    assert not (tmp_path / "mine.training").exists()
    assert (out / "model.safetensors").stat().st_mode == (out / "README.md").stat().st_mode
    assert "Licence of the data: CC0." in (out / "README.md").read_text()
    facts = json.loads((out / "training.json").read_text())
    assert facts["data"]["synonyms"]["learned"] == len(asked.learned.queries)
    assert facts["settings"]["course"]["seed"] == 0
    assert facts["passed the gate"]
    old, new = Embedder.load(str(base)), Embedder.load("mine", base=tmp_path)
    assert isinstance(new, LocalEmbedder)
    assert isinstance(new.encoder, NativeEncoder)
    assert new.window == old.window
    assert new.id.startswith("mine@")
    assert new.id.partition("@")[2] != old.id.partition("@")[2]
    documents = [Document(page_content=one, metadata={"source": one}) for one in SAID[:4]]
    IndexWriter(tmp_path / "index").write(documents, old)
    index = Index.open(tmp_path / "index")
    with pytest.raises(IndexStateError, match="cannot search an index made with"):
        index.dense(new.embed_query(ASKED[0]), 1, embedder=new.id)
    index.close()


def test_an_adapter_is_small_and_opens_over_its_base(
    base: Path, asked: Questions, tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    how = settings(base, layers="lora", rate=3e-2, epochs=4)
    verdicts = train_ranker(asked, how, out, {})
    assert verdicts[0].passed
    assert not list(out.glob("model*"))
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"]
    old, new = Embedder.load(str(base)), Embedder.load("adapter", base=tmp_path)
    assert isinstance(new, LocalEmbedder)
    assert isinstance(new.encoder, NativeEncoder)
    assert new.id.partition("@")[2] != old.id.partition("@")[2]
    differ = (old.embed(SAID[:3]) * new.embed(SAID[:3])).sum(axis=1)
    assert (differ < 0.999).all()


def test_margins_of_a_teacher_are_learned(base: Path, asked: Questions, tmp_path: Path) -> None:
    how = settings(base, loss="margin-mse", epochs=3)
    verdicts = train_ranker(asked, how, tmp_path / "taught", {}, force=True)
    assert verdicts[0].gain is not None
    assert verdicts[0].gain.mean > 0.03


def test_what_is_not_better_is_not_saved_unless_forced(
    base: Path, asked: Questions, tmp_path: Path
) -> None:
    out = tmp_path / "lazy"
    how = settings(base, rate=1e-9, epochs=1)
    with pytest.raises(GateError, match=r"nDCG@10 .* nothing was saved"):
        train_ranker(asked, how, out, {})
    assert not out.exists()
    assert not train_ranker(asked, how, out, {}, force=True)[0].passed
    assert "did not pass the gate" in (out / "README.md").read_text()


def test_a_further_data_set_decides_too(base: Path, tmp_path: Path) -> None:
    data = load_dataset(collection(tmp_path / "synonyms"))
    half = replace(data, queries=data.queries[:36])
    # A test that nothing can be gained on: each question is answered by a text of its words.
    easy = [Document(id=f"e{n}", page_content=one.text, metadata={"source": f"e{n}"})
            for n, one in enumerate(data.queries[36:])]  # fmt: skip
    other = replace(
        data, name="easy", documents=easy,
        queries=[replace(one, relevant={f"e{n}": 1}) for n, one in enumerate(data.queries[36:])],
    )  # fmt: skip
    found = questions(half, [other])
    with pytest.raises(GateError, match="test easy questions"):
        train_ranker(found, settings(base, epochs=1), tmp_path / "out", {})


class KilledError(Exception):
    """As a kill would stop it."""


def test_a_stopped_training_goes_on_and_ends_alike(
    base: Path, asked: Questions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "EVERY", 3)
    seen: list[int] = []

    def stopping(work: str, done: int, total: int) -> None:
        if work == "training":
            seen.append(done)
            if done == 5 and seen.count(5) == 1:
                raise KilledError

    how, out = settings(base), tmp_path / "stopped"
    with pytest.raises(KilledError):
        train_ranker(asked, how, out, {}, report=stopping)
    place = tmp_path / "stopped.training" / "checkpoints"
    assert [one.name for one in place.iterdir()] == ["checkpoint-3"]
    half = place / "checkpoint-4"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_')  # the kill was in a checkpoint
    with pytest.raises(ConfigError, match="other settings or data"):
        train_ranker(asked, settings(base, epochs=1), out, {})
    train_ranker(asked, how, out, {}, report=stopping)
    assert seen[:7] == [1, 2, 3, 4, 5, 4, 5]
    train_ranker(asked, how, tmp_path / "whole", {})
    ours, theirs = ((tmp_path / name / "model.safetensors").read_bytes()
                    for name in ("stopped", "whole"))  # fmt: skip
    assert ours == theirs


def test_no_text_of_a_batch_answers_the_question_of_another_row() -> None:
    from datasets import Dataset as Rows
    from sentence_transformers.base.sampler import DefaultBatchSampler

    answers = {"a": {"x", "y"}, "b": {"y"}, "c": {"z"}}
    rows = [("a", "x", "z"), ("a", "y", "z"), ("b", "y", "w"), ("c", "z", "w"), ("d", "v", "u")]
    columns = dict(zip(("anchor", "positive", "negative"), zip(*rows, strict=True), strict=True))
    sampler = courses.parted(answers, DefaultBatchSampler)(
        Rows.from_dict(columns), batch_size=3, seed=1
    )
    batches = list(sampler)
    assert sorted(at for one in batches for at in one) == [0, 1, 2, 3, 4]
    for batch in batches:
        for at in batch:
            others = {text for one in batch if one != at for text in rows[one][1:]}
            assert not others & answers.get(rows[at][0], set())
    sampler.set_epoch(1)
    assert list(sampler) != batches


def test_the_command_trains_on_questions_with_passages(base: Path, tmp_path: Path) -> None:
    rows = [
        {"question": f"{ASKED[a]} {ASKED[b]}", "passages": [f"{SAID[a]} {SAID[b]}"]}
        for a in range(11)
        for b in range(a)
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    said = rag(
        "train", "embedder", "--out", "mine", "--data", "q.jsonl", "--model", str(base),
        "--rate", "8e-3", "--epochs", "2", "--negatives", "3", "--json", cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(said[said.index("{") :])
    assert found["results"][0]["measure"] == "nDCG@10"
    assert (tmp_path / "mine" / "model.safetensors").exists()


@pytest.mark.parametrize("missing", ["datasets", "accelerate", "ir_measures", "peft"])
def test_without_a_library_one_error_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    collection(tmp_path / "data")
    args = ["--layers", "lora", "--data", "data"]
    said = rag("train", "embedder", "--out", "mine", *args, cwd=tmp_path, code=2)
    assert 'pip install "modular-rag[train]"' in said
    assert not list(tmp_path.glob("mine*"))


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ((), "--data, --make"),
        (("--data", "few"), "3 examples to learn from and 2 to measure are too few"),
        (("--data", "missing"), "there is no such data set"),
        (("--data", "data", "--test", "copy"), "is to test what was learned"),
        (("--data", "bare.jsonl"), "no question has a passage or a document"),
    ],
)  # fmt: skip
def test_bad_input_is_one_error(args: tuple[str, ...], what: str, tmp_path: Path) -> None:
    collection(tmp_path / "data")
    collection(tmp_path / "few", 5)
    copy = collection(tmp_path / "copy", 1)
    (copy / "queries.jsonl").write_text('{"_id": "q0-1", "text": "The ask1, ask0!"}\n')
    (tmp_path / "bare.jsonl").write_text('{"question": "Q?", "answers": ["a"]}\n')
    said = rag("train", "embedder", "--out", "mine", *args, cwd=tmp_path, code=2)
    assert what in said
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "args", [("--model", "./nothing"), ("--loss", "margin-mse", "--teacher", "./nothing")]
)
def test_a_model_that_is_not_there_is_named(
    args: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    collection(tmp_path / "data")
    given = ("--data", "data", "--model", str(base), *args)
    said = rag("train", "embedder", "--out", "mine", *given, cwd=tmp_path, code=5)
    assert "there is no such folder" in said
    assert not (tmp_path / "mine").exists()
