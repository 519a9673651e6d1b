"""Files of questions: what is read, and what is refused with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.eval.dataset import Query
from rag.eval.loading import load_dataset

ROOT = Path(__file__).parents[2]


def read(tmp_path: Path, name: str, text: str) -> list[Query]:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return load_dataset(file).queries


def test_jsonl(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "How long?", "answers": ["120 m"], "documents": ["locks.md"],
         "kind": "single"},
        {"question": "What salary?", "answers": [], "kind": "none"},
        {"question": "Who?", "documents": ["people.md"]},
        {"question": "Why?", "answers": "because", "passages": ["It is because."]},
    ]  # fmt: skip
    found = read(tmp_path, "q.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert found == [
        Query("a", "How long?", {"locks.md": 1}, ("120 m",), kind="single"),
        Query("q2", "What salary?", {}, (), answerable=False, kind="none"),
        Query("q3", "Who?", {"people.md": 1}, ()),
        Query("q4", "Why?", {}, ("because",), passages=("It is because.",)),
    ]
    assert [query.measurable for query in found] == [True, True, False, True]


def test_csv(tmp_path: Path) -> None:
    text = (
        "id,question,answers,documents,kind\n"
        'a,"How long, exactly?","[""120 m"", ""120 metres""]",locks.md,\n'
        "b,What salary?,,,none\n"
        "c,Who?,the keeper,,\n"
    )
    assert read(tmp_path, "q.csv", "\ufeff" + text) == [
        Query("a", "How long, exactly?", {"locks.md": 1}, ("120 m", "120 metres")),
        Query("b", "What salary?", {}, (), answerable=False, kind="none"),
        Query("c", "Who?", {}, ("the keeper",)),
    ]


RAGAS = [
    {
        "user_input": "How long?", "reference": "It is 120 m long.",
        "reference_contexts": ["The lock is 120 m long."], "response": "130 m",
        "retrieved_contexts": ["something"], "synthesizer_name": "single_hop",
    },
    {"question": "How long?", "ground_truth": "It is 120 m long.", "contexts": ["x"]},
]  # fmt: skip


@pytest.mark.parametrize("name", ["q.jsonl", "q.json"])
def test_ragas(tmp_path: Path, name: str) -> None:
    text = json.dumps(RAGAS) if name.endswith("json") else "\n".join(map(json.dumps, RAGAS))
    answers = ("It is 120 m long.",)
    passages = ("The lock is 120 m long.",)
    assert read(tmp_path, name, text) == [
        Query("q1", "How long?", {}, answers, passages=passages, kind="single_hop"),
        Query("q2", "How long?", {}, answers),
    ]


def test_ragas_as_its_testset_writes_csv(tmp_path: Path) -> None:
    text = (
        "user_input,reference_contexts,reference,synthesizer_name\n"
        "How long?,\"['The lock is 120 m long.']\",It is 120 m long.,single_hop\n"
    )
    (found,) = read(tmp_path, "q.csv", text)
    assert found.passages == ("The lock is 120 m long.",)


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        ("q.jsonl", '{"question": "a"}\n{"question"', ":2", "not JSON"),
        ("q.jsonl", '{"question": "a"}\n\n{"answers": []}', ":3", "question: Field required"),
        ("q.jsonl", '{"question": ""}', ":1", "at least 1 character"),
        ("q.jsonl", '{"question": "a", "answers": [{}]}', ":1", "valid string"),
        ("q.jsonl", "[1]", ":1", "valid dictionary"),
        ("q.jsonl", '{"id": 1, "question": "a"}\n{"id": 1, "question": "b"}', ":2", "line 1"),
        ("q.jsonl", '{"question": "a", "kind": "none", "answers": ["b"]}', ":1", "has answers"),
        ("q.jsonl", "", "", "no lines"),
        ("q.csv", "question,answers\na,b,c\n", ":2", "more cells"),
        ("q.csv", "question,answers\na,b\na\n", ":3", "fewer cells"),
        ("q.csv", "other\na\n", ":2", "question: Field required"),
        ("q.csv", 'question\n"a"b\n', ":2", "not CSV"),
        ("q.csv", "", "", "no lines"),
        ("q.json", "{}", "", "not an array"),
        ("q.json", '[\n{"question": }]', ":2", "not JSON"),
    ],
)
def test_what_is_wrong_names_file_and_line(
    tmp_path: Path, name: str, text: str, line: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read(tmp_path, name, text)
    assert caught.value.where == f"{tmp_path / name}{line}"


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_dataset(tmp_path / "gone.jsonl")
    with pytest.raises(ConfigError, match="no such data set"):
        load_dataset(tmp_path / "gone")
    (tmp_path / "q.jsonl").write_text('{"question": "a"}')
    with pytest.raises(ConfigError, match="no splits"):
        load_dataset(tmp_path / "q.jsonl", split="dev")
    (tmp_path / "latin.csv").write_bytes("question\n\u00e4\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load_dataset(tmp_path / "latin.csv")


def test_the_examples_questions_are_read() -> None:
    found = load_dataset(ROOT / "examples" / "questions.jsonl").queries
    assert len(found) == 60
    assert sum(not query.answerable for query in found) == 10
    assert {query.kind for query in found} == {"single", "several", "none"}


def test_beir_marks_questions_that_cannot_be_answered(data: Path) -> None:
    with (data / "queries.jsonl").open("a") as file:
        file.write('\n{"_id": "q4", "text": "What salary?", "metadata": {"answers": []}}')
    found = {query.id: query for query in load_dataset(data).queries}
    assert found.keys() == {"q1", "q2", "q4"}
    assert not found["q4"].answerable


def test_beir_without_a_corpus_is_asked_over_indexes_that_are_there(data: Path) -> None:
    (data / "corpus.jsonl").unlink()
    found = load_dataset(data)
    assert (found.documents, len(found.queries), found.notes) == ([], 2, ())
