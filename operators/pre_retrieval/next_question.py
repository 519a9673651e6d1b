"""The next of several questions, with what the answers before it say."""

from __future__ import annotations

import re

from rag.flow import Operator
from rag.operators.claims import unmarked
from rag.operators.history import History
from rag.prompts.sanitize import harmless
from rag.text.abstention import abstains
from rag.text.sentences import STOPS, sentences

_REFERENCE = re.compile(r"#(\d{1,2})")


class NextQuestion(Operator):
    """Takes the next of the questions that `decompose` wrote, in their order.

    The second stage of least-to-most prompting (Zhou et al. 2022, arXiv 2205.10625, section 2):
    each question is put after the answers to those before it, which stand in `history`. In a
    question `#1` becomes the first sentence of the first answer, so that it can be searched for;
    it stays where the sources had no answer. For loops with `append_turn`. No LLM call.
    Reads `queries` and, if present, `history`: the questions and answers so far; writes
    `question`, and `last`: whether it is the last one before the question itself, which is the
    last of `queries`.
    Example: `{use: next_question}`
    """

    writes = ("question", "last")
    light = True

    def run(self, queries: list[str], history: History | None = None) -> tuple[str, bool]:
        """The question, and whether only the question itself follows it."""
        answers = [turn["content"] for turn in history or () if turn["role"] == "assistant"]
        at = min(len(answers), len(queries) - 1)

        def answer(match: re.Match[str]) -> str:
            number = int(match[1]) - 1
            known = 0 <= number < len(answers) and not abstains(answers[number])
            text = next(iter(sentences(answers[number])), "") if known else ""
            return harmless(unmarked(text).strip().rstrip(STOPS)) or match[0]

        question = _REFERENCE.sub(answer, queries[at]) if queries else ""
        return question, at >= len(queries) - 2
