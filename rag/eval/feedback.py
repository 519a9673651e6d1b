"""A test set from the feedback of users, as `GET /feedback` of a server exports it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from rag.eval.metrics import normalized
from rag.eval.questions import UNANSWERABLE
from rag.eval.rows import json_rows, validated
from rag.files import write_atomically
from rag.paths import write_errors
from rag.text.abstention import abstains

EXAMPLE = '{"question": "...", "answer": "...", "rating": "good", "correction": "", "sources": []}'
_MARKS = re.compile(r"\s*\[\d{1,3}\]")


class _Source(BaseModel):
    path: str = ""
    quote: str | None = None
    cited: bool = False


class _Rated(BaseModel):
    question: str
    answer: str = ""
    rating: Literal["good", "bad"]
    correction: str = ""
    run: str | None = None
    sources: list[_Source] = []


@dataclass(frozen=True)
class FeedbackQuestion:
    """A question that users asked, as a row of a file of questions.

    Attributes:
        id: Its place in the file.
        question: What was asked.
        answers: What is right; empty: the documents do not say.
        documents: Paths of the documents that a good answer cites.
        passages: The sentences there that it rests on.
        kind: `praised`, `corrected` or `none`.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    documents: tuple[str, ...]
    passages: tuple[str, ...]
    kind: str


def questions_of_feedback(file: Path) -> tuple[list[FeedbackQuestion], int]:
    """Questions with the answers that users approved or wrote.

    A good answer counts as right as it is, with what it cites as gold; one that says that the
    documents do not tell makes a question without an answer. Of a bad answer the user's correction
    is the right one. Where a question was rated several times, the first row of the file counts,
    which is the latest rating.

    Args:
        file: JSONL.

    Returns:
        The questions, and how many rows say nothing of the right answer.

    Raises:
        ConfigError: The file cannot be read, or a row is none of an export.
    """
    found: dict[str, FeedbackQuestion] = {}
    unknown, seen = 0, set[str]()
    for _, row in validated(file, json_rows(file, EXAMPLE), _Rated, EXAMPLE):
        key = normalized(row.question)
        if not key or key in seen:
            continue
        seen.add(key)
        made = _question(f"feedback-{len(found)}", row)
        if made is None:
            unknown += 1
        else:
            found[key] = made
    return list(found.values()), unknown


def _question(name: str, row: _Rated) -> FeedbackQuestion | None:
    answer = _MARKS.sub("", row.answer).strip()
    if row.rating == "bad":
        right = row.correction.strip()
        if not right:
            return None
        if abstains(right):
            return FeedbackQuestion(name, row.question, (), (), (), UNANSWERABLE)
        return FeedbackQuestion(name, row.question, (right,), (), (), "corrected")
    if not answer or abstains(answer):
        return FeedbackQuestion(name, row.question, (), (), (), UNANSWERABLE) if answer else None
    cited = [one for one in row.sources if one.cited]
    documents = dict.fromkeys(one.path for one in cited if one.path)
    passages = dict.fromkeys(one.quote for one in cited if one.quote)
    return FeedbackQuestion(
        name, row.question, (answer,), tuple(documents), tuple(passages), "praised"
    )


def write_questions(questions: Sequence[FeedbackQuestion], path: Path) -> None:
    """Write questions as JSONL, as `rag eval answers --data` reads it.

    Raises:
        ConfigError: The file cannot be written.
    """
    lines = [json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in questions]
    with write_errors(path, "--out"):
        write_atomically(path, "".join(lines))
