"""A test set from an index: what is kept, what is refused, how a stopped run goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError, StepError
from rag.eval.loading import load_dataset
from rag.eval.making.cloze import altered, clozes, fillers, stated
from rag.eval.making.make import Made, Maker, make_questions
from rag.flow import Resources
from rag.index import Index, IndexWriter
from rag.models.profiles import Profile
from rag.prompts.prompt import Prompt
from rag.testing import ScriptedEmbedder, ScriptedLLM, rate_limit_error
from tests.eval.conftest import WORDS

TEXTS = {
    "locks.md": "The north lock at Orrin is 120 m long and was built by Mayor Finch himself. "
    "The lock keeper opens it every morning and closes it again late at night.",
    "pumps.md": "Pump P-17 at the north lock of Orrin lifts 240 litres of water each second. "
    "It is looked after by the pump master and his apprentice all year.",
    "boats.md": "The tug Hedda breaks ice of up to 35 cm on the canal every cold winter. "
    "Her crew of four lives aboard from December until the thaw in March.",
}
GOOD = {"question": "How long is the north lock?", "answer": "120 m"}


def resources(tmp_path: Path, llm: ScriptedLLM, texts: dict[str, str] = TEXTS) -> Resources:
    embedder = ScriptedEmbedder()
    path = tmp_path / "index"
    if not path.exists():
        IndexWriter(path).write(
            [Document(page_content=t, metadata={"source": s}) for s, t in texts.items()], embedder
        )
    return Resources({"index": Index.open(path), "embedder": embedder, "llm": llm})


def maker(tmp_path: Path, answers: Any = "nothing", seed: int = 0) -> Maker:
    return Maker(resources(tmp_path, ScriptedLLM(answers)), seed)


def from_source(prompt: Prompt) -> str:
    """The answer to the good question, where the source has it."""
    return "It is 120 m long." if "120 m" in " ".join(prompt.chunks) else "The sources do not say."


def test_a_question_that_comes_back_is_kept(tmp_path: Path) -> None:
    found = maker(tmp_path, {"make_single": GOOD, "generate": "It is 120 m long."})
    made = found.make("single", 0, set())
    assert made is not None
    assert (made.question, made.answers, made.by) == (GOOD["question"], ("120 m",), "model")
    assert made.id == "single-0"
    assert len(made.documents) == len(made.passages) == 1


@pytest.mark.parametrize(
    ("written", "again"),
    [
        (GOOD, "It is 130 m long."),  # the answer does not come back
        ({**GOOD, "question": "How long is it according to the source?"}, "120 m"),
        ({**GOOD, "question": "Is the lock 120 m long?"}, "120 m"),  # it tells its answer
        ({**GOOD, "question": "The north lock is long."}, "120 m"),
        ({**GOOD, "answer": "The sources do not say."}, "The sources do not say."),
        ({**GOOD, "answer": "-"}, "-"),
        ("no object", "120 m"),
    ],
)
def test_what_does_not_hold_is_asked_by_rules(tmp_path: Path, written: Any, again: str) -> None:
    made = maker(tmp_path, {"make_single": written, "generate": again}).make("single", 0, set())
    assert made is not None
    assert made.by == "rules"
    assert "____" in made.question


def test_a_question_about_several_needs_all_of_them(tmp_path: Path) -> None:
    def both(prompt: Prompt) -> str:
        return "Finch and P-17" if len(prompt.chunks) == 2 else "Finch"

    asked = {"question": "Who built it, and what pumps?", "answer": "Finch and P-17"}
    made = maker(tmp_path, {"make_several": asked, "generate": both}).make("several", 0, set())
    assert made is not None
    assert made.by == "model"
    assert len(set(made.documents)) == 2
    easy = {"make_several": asked, "generate": "Finch and P-17"}
    alone = maker(tmp_path, easy).make("several", 0, set())
    assert alone is None or alone.by == "rules"


def test_a_question_without_an_answer_is_answered_by_no_hit(tmp_path: Path) -> None:
    asked = {"question": "What does the lock keeper earn?", "answer": ""}
    script = {"make_none": asked, "generate": "The sources do not say.", "grade_relevant": "1"}
    made = maker(tmp_path, script).make("none", 0, set())
    assert made is not None
    assert (made.by, made.answers, made.documents, made.passages) == ("model", (), (), ())
    for change in ({"grade_relevant": "3"}, {"generate": "3000 crowns"}):
        other = maker(tmp_path, {**script, **change}).make("none", 0, set())
        assert other is None or other.by == "rules"


def test_the_same_question_is_not_made_twice(tmp_path: Path) -> None:
    found = maker(tmp_path, {"make_single": GOOD, "generate": from_source})
    made = found.make("single", 0, {"how long is north lock"})
    assert made is not None
    assert made.by == "rules"


def test_every_number_tries_other_passages(tmp_path: Path) -> None:
    texts = {f"{n}.md": f"{TEXTS['boats.md']} It is boat {n} of the fleet." for n in range(9)}
    llm = ScriptedLLM("nothing")
    found = Maker(resources(tmp_path, llm, texts))
    tried = []
    for number in range(3):
        before = len(llm.prompts)
        found.make("single", number, set())
        tried += [prompt.chunks for prompt in llm.prompts[before:]]
    assert len(set(tried)) == 9


def test_by_rules_all_kinds_are_made_and_checked(tmp_path: Path) -> None:
    found = maker(tmp_path)
    made = [one for n in range(6) if (one := found.make("single", n, set()))]
    assert made
    for one in made:
        (passage,), (answer,) = one.passages, one.answers
        assert answer in passage
        assert one.question.split('"')[1].replace("____", answer) == passage
    none = found.make("none", 0, set())
    assert none is None or none.answers == ()


def test_a_failing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepError):
        maker(tmp_path, [rate_limit_error()]).make("single", 0, set())


def test_an_index_without_passages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chunk of 20 words"):
        Maker(resources(tmp_path, ScriptedLLM(), {"a": "Short."}))


def script(prompt: Prompt) -> str:
    """A model that numbers its questions by the passage."""
    text = " ".join(prompt.chunks)
    return "120 m" if "120 m" in text else "240 litres" if "240" in text else "35 cm"


def written(prompt: Prompt) -> dict[str, str]:
    answer = script(prompt)
    return {"question": f"Which {len(answer)} figure is it in Orrin?", "answer": answer}


COUNTS: dict[Any, int] = {"single": 3, "several": 1, "none": 2}


def made_in(tmp_path: Path, file: str, seed: int = 0) -> list[Made]:
    found = maker(tmp_path, {"make_single": written, "generate": script}, seed)
    return make_questions(found, COUNTS, tmp_path / file)


def test_the_same_seed_makes_the_same(tmp_path: Path) -> None:
    first, again, other = (made_in(tmp_path, f"{n}.jsonl", n // 2) for n in range(3))
    assert first == again
    assert first != other


@pytest.mark.parametrize("cut", [lambda text: text[:-30], lambda text: text.split("\n")[0] + "\n"])
def test_a_stopped_run_goes_on(tmp_path: Path, cut: Callable[[str], str]) -> None:
    whole = made_in(tmp_path, "whole.jsonl")
    text = (tmp_path / "whole.jsonl").read_text()
    (tmp_path / "cut.jsonl").write_text(cut(text))
    assert made_in(tmp_path, "cut.jsonl") == whole
    assert (tmp_path / "cut.jsonl").read_text() == text


def test_questions_of_another_seed_are_not_mixed_in(tmp_path: Path) -> None:
    made_in(tmp_path, "it.jsonl")
    with pytest.raises(ConfigError, match="another index, model or seed") as caught:
        made_in(tmp_path, "it.jsonl", seed=1)
    assert caught.value.where == f"{tmp_path / 'it.jsonl'}:1"


def test_what_is_made_can_be_evaluated(tmp_path: Path) -> None:
    made = made_in(tmp_path, "it.jsonl")
    data = load_dataset(tmp_path / "it.jsonl")
    assert [query.text for query in data.queries] == [one.question for one in made]
    assert [query.answerable for query in data.queries] == [one.kind != "none" for one in made]
    assert all(query.measurable for query in data.queries)


def test_a_strong_models_prompts_are_used(tmp_path: Path) -> None:
    llm = ScriptedLLM(
        {"make_single": GOOD, "generate": from_source}, profile=Profile(size="strong")
    )
    made = Maker(resources(tmp_path, llm)).make("single", 0, set())
    assert made is not None
    assert "make_single" in llm.names


LOCK = (
    "A heading of six words: 3\n"
    "The north lock is 120 m long since 1911. Shorter. The lock keeper of Orrin lives upstairs."
)


def test_a_gap_takes_the_last_number_with_its_unit_or_a_name() -> None:
    made = {one.gapped: one.answer for one in clozes(LOCK)}
    assert made == {
        "The north lock is 120 m long since ____.": "1911",
        "The lock keeper of ____ lives upstairs.": "Orrin",
    }


@pytest.mark.parametrize("answer", ["3 km/h", "40 %", "1,200 m", "14", "82 \u00b0C"])
def test_a_unit_belongs_to_its_number(answer: str) -> None:
    (cloze,) = clozes(f"In the chamber of the lock it is {answer}, as everywhere.")
    assert cloze.answer == answer


def test_a_common_word_is_no_unit() -> None:
    (cloze,) = clozes("The lock was built in 1911 and is the oldest.")
    assert cloze.answer == "1911"


def test_what_fills_a_gap() -> None:
    (cloze, *_) = clozes("The north lock is now exactly 120 m.")
    texts = ["The north lock is now exactly 120 m.", "The north lock is now\nexactly 90 m."]
    assert fillers(cloze, texts) == {"120 m", "90 m"}


def test_another_name_makes_it_unanswerable() -> None:
    (cloze,) = clozes("The tug Hedda breaks ice of up to 35 cm.")
    rng = random.Random(0)  # noqa: S311 - no secret
    (other,) = altered(cloze, ["The bridge at Orrin is old."], rng)
    assert other.gapped == "The tug Orrin breaks ice of up to ____."
    assert not stated(other, ["The tug Hedda breaks ice of up to 35 cm."])
    assert stated(other, ["Up to 9 cm of ice breaks the tug Orrin."])


def test_at_a_shell(tmp_path: Path) -> None:
    config, folder = tmp_path / "words.yaml", tmp_path / "documents"
    config.write_text(WORDS.replace("./index", "./own"))
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    run = CliRunner().invoke
    assert run(app, ["ingest", str(folder), "-c", str(config)]).exit_code == 0
    out = tmp_path / "questions.jsonl"
    wanted = ["--questions", "2", "--several", "0", "--none", "0.5", "--json"]
    done = run(app, ["eval", "make", "-c", str(config), "--out", str(out), *wanted])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["single"] == 1
    assert found["by model"] + found["by rules"] == len(load_dataset(out).queries)
    too_many = ["--out", str(out), "--several", "0.7", "--none", "0.7"]
    refused = run(app, ["eval", "make", "-c", str(config), *too_many])
    assert isinstance(refused.exception, ConfigError)
