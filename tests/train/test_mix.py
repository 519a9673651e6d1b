"""What a reader learns from: every example's answer is in the source that it cites."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.eval.loading import load_dataset
from rag.eval.metrics import contains
from rag.testing import ScriptedEmbedder
from rag.text.abstention import abstains
from rag.text.chunk import Chunk
from rag.train.reader.example import Example, cited
from rag.train.reader.found import of_dataset, of_texts
from rag.train.reader.invented import invented
from rag.train.reader.mix import MixSettings, mix
from rag.train.reader.stated import answer_to, stated_in
from rag.train.reader.world import UNSEEN, words
from rag.train.split import split

LAKES = [
    ("The lake of Ferrin is 40 m deep.", "How deep is the lake of Ferrin?", "40 m"),
    ("The mill has seven wheels and a pond.", "How many wheels does the mill have?", "seven"),
    ("The tower was built by monks in 1312.", "When was the tower built?", "1312"),
    ("The archive is located in the old dairy, by the road.", "Where is the archive located?",
     "in the old dairy"),
    ("The parcel weighs 12 kg.", "How much does the parcel weigh?", "12 kg"),
    ("Ada Quist designed the bridge of Varn.", "Who designed the bridge of Varn?", "Ada Quist"),
    ("The director of the mill is Jan Haas.", "Who is the director of the mill?", "Jan Haas"),
    ("The time limit defaults to 30 seconds.", "What does the time limit default to?",
     "30 seconds"),
    ("The default of `retries` is 3.", "What is the default of `retries`?", "3"),
    ("The valve needs a new seal.", "What does the valve need?", "a new seal"),
]  # fmt: skip


def sound(example: Example) -> None:
    """The answer's facts are in its text, and in the sources that it cites."""
    plain = re.sub(r" \[\d+\]", "", example.target)
    numbers = [int(one) for one in re.findall(r"\[(\d+)\]", example.target)]
    if not example.answers:
        assert abstains(plain)
        assert not numbers
        return
    assert not abstains(plain)
    assert numbers
    read = " ".join(example.sources[one - 1] for one in numbers)
    for answers in example.answers:
        assert contains(plain, answers)
        assert contains(read, answers)


@pytest.mark.parametrize("unseen", [False, True])
def test_invented_answers_are_in_the_sources_that_they_cite(unseen: bool) -> None:
    examples = invented(400, 3, unseen=unseen)
    for one in examples:
        sound(one)
    kinds = [one.kind for one in examples]
    assert {kind: kinds.count(kind) > 20 for kind in ("single", "several", "none")} == {
        "single": True, "several": True, "none": True,
    }  # fmt: skip
    assert examples == invented(400, 3, unseen=unseen)
    assert examples != invented(400, 4, unseen=unseen)


def test_what_is_measured_is_about_things_that_were_not_learned() -> None:
    things = words()["things"]
    held = {one for kinds in things.values() for one in kinds[::UNSEEN]}
    learned = {one for kinds in things.values() for one in kinds} - held
    asked = " ".join(one.question for one in invented(300, 1, unseen=True))
    assert not [one for one in learned - {"pump"} if re.search(rf"\b{one}\b", asked)]
    assert sum(one in asked for one in held) > 5


def test_an_unanswerable_question_has_no_answer_in_its_sources() -> None:
    for one in invented(400, 5):
        if one.kind == "none" and (match := re.match(r"Who is the (.+)\?", one.question)):
            assert match[1] not in " ".join(one.sources).lower()


@pytest.mark.parametrize(("sentence", "question", "value"), LAKES)
def test_a_sentence_gives_the_question_that_it_answers(
    sentence: str, question: str, value: str
) -> None:
    (found,) = stated_in(sentence)
    assert (found.question, found.value) == (question, value)
    assert answer_to(found) == sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "It is the largest lake of the county.",
        "This was built in 1312 by monks.",
        "Why is the lake so deep?",
        "The lake which is deep and the mill that is the oldest of all.",
    ],
)
def test_a_sentence_that_does_not_stand_alone_gives_none(sentence: str) -> None:
    assert not list(stated_in(sentence))


def test_of_a_long_sentence_the_fact_alone_is_the_answer() -> None:
    tail = ", which " + " and ".join(["nobody had expected of it then"] * 5)
    (found,) = stated_in(f"The tower was built by monks in 1312{tail}.")
    assert answer_to(found) == "1312"


def test_examples_of_texts_are_sound() -> None:
    chunks = [
        Chunk(f"{text} It is well known.\n\n# Heading", {"source": text}) for text, *_ in LAKES
    ]
    examples = of_texts(chunks, ScriptedEmbedder(), "texts", 50, 1)
    for one in examples:
        sound(one)
    assert {one.question for one in examples if one.kind == "single"} <= {q for _, q, _ in LAKES}
    assert len(examples) == len(LAKES)


def beir(folder: Path, count: int = 12) -> Path:
    """Questions with answers and passages."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"d{n}", "title": f"Lake {n}", "text": f"Lake {n} is {n + 3} m deep. It is old."}
        for n in range(count)
    ]
    queries = [
        {"_id": f"q{n}", "text": f"how deep is lake {n}", "metadata": {"answers": [f"{n + 3} m"]}}
        for n in range(count)
    ]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(count))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def test_examples_of_a_data_set_are_sound(tmp_path: Path) -> None:
    data = load_dataset(beir(tmp_path / "lakes"))
    examples = of_dataset(data, ScriptedEmbedder(), 100, 4)
    for one in examples:
        sound(one)
    assert len(examples) == 12
    assert {one.kind for one in examples} == {"single", "none"}
    assert len(of_dataset(data, ScriptedEmbedder(), 5, 2)) == 5


def test_a_file_of_questions_needs_passages(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    row = {"question": "How deep is it?", "answers": ["4 m"]}
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match="no question has an answer and a passage"):
        of_dataset(load_dataset(file), ScriptedEmbedder(), 5)
    file.write_text(json.dumps({**row, "passages": ["The lake is 4 m deep."]}) + "\n")
    (example,) = of_dataset(load_dataset(file), ScriptedEmbedder(), 5)
    assert example.target == "The lake is 4 m deep [1]."


def test_a_question_that_is_learned_and_tested_is_refused(tmp_path: Path) -> None:
    data = load_dataset(beir(tmp_path / "lakes"))
    file = tmp_path / "test.jsonl"
    file.write_text('{"id": "t7", "question": "How deep is Lake 3?", "answers": ["6 m"]}\n')
    with pytest.raises(ConfigError, match=r"'q3' is 't7' of test\.jsonl"):
        mix(MixSettings(), [data], ScriptedEmbedder(), [load_dataset(file)])


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(ConfigError, match="5 examples to learn from and 2 to measure are too few"):
        mix(MixSettings(invented=5), [], ScriptedEmbedder(), [])


def test_a_split_keeps_documents_and_questions_apart() -> None:
    examples = [Example(f"Question {n % 30}?", ("s",), "t", (("a",),), "o", f"d{n // 3}")
                for n in range(90)]  # fmt: skip
    learned, held = split(examples, 20, 0)
    assert 0 < len(held) <= 20
    assert not {one.group for one in learned} & {one.group for one in held}
    assert not {one.key for one in learned} & {one.key for one in held}


def test_marks_stand_before_the_full_stop() -> None:
    assert cited("the lake is deep.", [2, 1, 2]) == "The lake is deep [2][1]."
    assert cited("the lake is deep", []) == "The lake is deep."
