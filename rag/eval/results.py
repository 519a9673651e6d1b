"""What is recorded of one question put to one pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerResult:
    """The answer of one pipeline to one question, with its measures and its cost.

    Attributes:
        id: The question's id in the data set.
        question: Its text.
        gold: The answers that count as right.
        answer: The pipeline's answer; empty if the run failed.
        exact_match: 0 or 1; compared with the gold answers, as are the next two.
        token_f1: 0 to 1.
        containment: 0 or 1.
        faithfulness: 0 to 1; for this and the next two see `rag.eval.support.Support`.
        citation_recall: None if the answer is empty.
        citation_precision: None if nothing is cited.
        llm_calls: LLM calls; of a failed run those before the failure, also in the next two.
        tokens: Prompt and output tokens.
        seconds: Duration of the run.
        error: The message of a run that failed; it counts as a wrong answer.
    """

    id: str
    question: str
    gold: tuple[str, ...]
    answer: str
    exact_match: float
    token_f1: float
    containment: float
    faithfulness: float | None
    citation_recall: float | None
    citation_precision: float | None
    llm_calls: int
    tokens: int
    seconds: float
    error: str | None = None
