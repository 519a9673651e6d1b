"""What is recorded of one question put to one pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag.eval.runtime import ModelUse, ideal_seconds

RIGHT = 0.5
"""The grade from which an answer counts as right."""


@dataclass(frozen=True)
class SourceText:
    """A document that the step which answered was given.

    Attributes:
        name: Its path or source.
        text: What the model was given of it.
        relevant: Whether it bears on the question; None: it is not known.
    """

    name: str
    text: str
    relevant: bool | None = None


@dataclass(frozen=True)
class AnswerResult:
    """The answer of one pipeline to one question, with its measures and its cost.

    Measures are 0 to 1; None: the question has no value, or it was not measured.

    Attributes:
        id: The question's id in the data set.
        question: Its text.
        gold: The answers that count as right.
        answerable: False: the right answer says that the sources do not say.
        kind: Of the question.
        answer: The pipeline's answer; empty if the run failed.
        abstained: Whether it says that the sources do not say.
        exact_match: 0 or 1; compared with the gold answers, as are the next two. Of a question
            that cannot be answered all three say whether the pipeline abstained (SQuAD 2.0).
        token_f1: As SQuAD defines it.
        containment: 0 or 1.
        correctness: A language model's grade.
        abstention: Of questions that cannot be answered: 1 if the pipeline abstained.
        coverage: Of the others: 1 if it did not.
        gold_retrieved: How much of what is needed was retrieved (`rag.eval.gold.gold_in`).
        gold_reranked: And was among what the rerankers kept.
        gold_read: And stood in the prompt.
        context_precision: Of the documents that the step which answered was given.
        context_recall: Of these too.
        faithfulness: For this and the next two see `rag.eval.support.Verdict`.
        citation_recall: None if the answer is empty.
        citation_precision: None if the answer is empty.
        llm_calls: LLM calls; of a failed run those before the failure, also in the next two.
        tokens: Prompt and output tokens.
        seconds: Duration of the run.
        error: The message of a run that failed; it counts as a wrong answer.
        sources: The documents that the step which answered was given.
        prompts: What the model was sent for it, a text for each call.
        calls: What each LLM call read and wrote; empty in results of earlier versions.
    """

    id: str
    question: str
    gold: tuple[str, ...]
    answer: str
    answerable: bool = True
    kind: str = ""
    abstained: bool = False
    exact_match: float | None = None
    token_f1: float | None = None
    containment: float | None = None
    correctness: float | None = None
    abstention: float | None = None
    coverage: float | None = None
    gold_retrieved: float | None = None
    gold_reranked: float | None = None
    gold_read: float | None = None
    context_precision: float | None = None
    context_recall: float | None = None
    faithfulness: float | None = None
    citation_recall: float | None = None
    citation_precision: float | None = None
    llm_calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    error: str | None = None
    sources: tuple[SourceText, ...] = ()
    prompts: tuple[str, ...] = ()
    calls: tuple[ModelUse, ...] = ()

    @property
    def runtime(self) -> float | None:
        """Idealized seconds of the calls; None: not known (see `rag.eval.runtime.ideal_seconds`).

        Of a run that failed too: what it would have cost is not known.
        """
        if self.error is not None or (self.llm_calls and not self.calls):
            return None
        return ideal_seconds(self.calls)

    @property
    def right(self) -> bool:
        """Whether the answer counts as right: by its grade if it has one, else by containment."""
        if self.error is not None:
            return False
        grade = self.correctness
        return bool(self.containment) if grade is None else grade >= RIGHT

    @property
    def lost(self) -> str:
        """The step after which a wrong answer could no longer be right; empty: it is right.

        `retrieval`, `reranking`, `selection` (between the reranker and the prompt), `generation`;
        `error`; `abstention` where there was nothing to answer.
        """
        if self.right:
            return ""
        if self.error is not None:
            return "error"
        if not self.answerable:
            return "abstention"
        stages = {
            "retrieval": self.gold_retrieved,
            "reranking": self.gold_reranked,
            "selection": self.gold_read,
        }
        return next((name for name, gold in stages.items() if gold == 0), "generation")


def result_of(record: Mapping[str, Any]) -> AnswerResult:
    """The result that `dataclasses.asdict` made a record of, read back from JSON.

    Raises:
        TypeError, KeyError: It is no such record.
    """
    sources = tuple(SourceText(**one) for one in record["sources"])
    fields = {
        "gold": tuple(record["gold"]),
        "prompts": tuple(record["prompts"]),
        "calls": tuple(ModelUse(**one) for one in record.get("calls", ())),
    }
    return AnswerResult(**{**record, "sources": sources, **fields})
