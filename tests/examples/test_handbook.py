"""The example corpus: every format can be read, and every answer stands where it is said to."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rag.index.readers.discover import FileRef, discover
from rag.index.readers.read import read_here

EXAMPLES = Path(__file__).parents[2] / "examples"
HANDBOOK = EXAMPLES / "handbook"
QUESTIONS = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text().splitlines()]


def text_of(name: str) -> str:
    path = HANDBOOK / name
    documents = list(read_here(path, name))
    return " ".join(" ".join(document.page_content for document in documents).split()).lower()


def test_every_file_is_read() -> None:
    found = list(discover([HANDBOOK]))
    assert all(isinstance(file, FileRef) for file in found)
    assert len(found) == 22
    assert Counter(Path(file.path).suffix for file in found) == {
        ".md": 12,
        ".html": 4,
        ".pdf": 3,
        ".docx": 3,
    }


def test_there_are_sixty_questions_of_all_kinds() -> None:
    assert len(QUESTIONS) == len({question["id"] for question in QUESTIONS}) == 60
    assert Counter(question["kind"] for question in QUESTIONS) == {
        "single": 38,
        "several": 12,
        "none": 10,
    }


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["id"])
def test_answers_stand_in_the_documents(question: dict) -> None:
    texts = [text_of(name) for name in question["documents"]]
    assert bool(texts) == (question["kind"] != "none")
    for answer in question["answers"]:
        assert any(answer.lower() in text for text in texts)
