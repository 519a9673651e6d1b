"""Pipelines side by side on the same questions: quality against model calls, tokens and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rag.errors import RagError
from rag.eval.compare import Gain, mean, paired
from rag.eval.metrics import contains, exact_match, token_f1
from rag.flow.run.execution import Execution, blocking

if TYPE_CHECKING:
    from rag.eval.beir import Query
    from rag.eval.kept import Kept
    from rag.eval.support import Judge
    from rag.flow import Flow

QUALITY = (
    "exact_match", "token_f1", "containment",
    "faithfulness", "citation_recall", "citation_precision",
)  # fmt: skip
COST = ("llm_calls", "tokens", "seconds")


@dataclass(frozen=True)
class Asked:
    """One question put to one pipeline.

    Attributes:
        id: The question's.
        question: Its text.
        gold: The answers that count as right.
        answer: What was said; empty where the run failed.
        exact_match: 0 or 1, as `token_f1` and `containment` a comparison with the gold answers.
        token_f1: 0 to 1.
        containment: 0 or 1.
        faithfulness: 0 to 1, and the next two: see `rag.eval.support.Supported`.
        citation_recall: None where nothing was said.
        citation_precision: None where nothing was cited.
        llm_calls: Calls of a language model; as the next two of a failed run too, until it failed.
        tokens: Read and written by it.
        seconds: Of the run.
        error: Of a run that failed; it counts as a wrong answer.
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

    @property
    def asked(self) -> tuple[str, tuple[str, ...]]:
        """What the measures belong to: the question and its gold answers."""
        return self.question, self.gold


@dataclass(frozen=True)
class Row:
    """A pipeline's means, and how it differs from the baseline on the same questions.

    Attributes:
        means: By measure, of `QUALITY` and `COST`; None where no question has a value.
        gains: By measure of `QUALITY`, over the baseline.
    """

    pipeline: str
    questions: int
    errors: int
    means: dict[str, float | None]
    gains: dict[str, Gain | None]


async def ask(flow: Flow, query: Query, judge: Judge) -> Asked:
    """Put one question to a pipeline; a failure is a result too, with what it cost.

    Raises:
        InputError: The pipeline waits for a person.
    """
    run = Execution(flow, {"query": query.text})
    result: dict[str, Any] = {}
    error = None
    started = perf_counter()
    try:
        result = await run.ainvoke()
    except RagError as failed:
        error = str(failed)
    seconds = perf_counter() - started
    answer = str(result.get("answer") or "")
    supported = await asyncio.to_thread(judge.judge, answer, result.get("documents") or ())
    return Asked(
        id=query.id,
        question=query.text,
        gold=query.answers,
        answer=answer,
        exact_match=exact_match(answer, query.answers),
        token_f1=token_f1(answer, query.answers),
        containment=contains(answer, query.answers),
        **asdict(supported),
        llm_calls=run.spent.llm_calls,
        tokens=run.spent.tokens,
        seconds=seconds,
        error=error,
    )


def ask_all(
    flow: Flow,
    queries: Sequence[Query],
    judge: Judge,
    kept: Kept | None,
    told: Callable[[int, int], None],
    at_once: int = 1,
) -> list[Asked]:
    """Put all questions to a pipeline.

    Args:
        flow: The pipeline.
        queries: With gold answers.
        judge: Of support.
        kept: What was answered before and is not asked again, and gets the new answers.
        told: How many of how many.
        at_once: Questions under way together; a local model decodes them together.

    Raises:
        ConfigError: The answers cannot be kept.
        InputError: The pipeline waits for a person.
    """
    known = {query.id: kept.get(query) if kept is not None else None for query in queries}
    waiting = [query for query in queries if known[query.id] is None]

    async def work() -> None:
        while waiting:
            query = waiting.pop(0)
            one = known[query.id] = await ask(flow, query, judge)
            if kept is not None:
                kept.add(one)
            told(sum(found is not None for found in known.values()), len(queries))

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(waiting))):
                group.create_task(work())

    try:
        blocking(all_of_them())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [one for query in queries if (one := known[query.id]) is not None]


def rows(asked: dict[str, list[Asked]]) -> list[Row]:
    """The table: a row for each pipeline, compared with the first one's answers."""
    base = next(iter(asked.values()))

    def values(answers: Sequence[Asked], measure: str) -> list[float | None]:
        return [getattr(one, measure) for one in answers]

    return [
        Row(
            pipeline=name,
            questions=len(answers),
            errors=sum(one.error is not None for one in answers),
            means={m: mean(values(answers, m)) for m in (*QUALITY, *COST)},
            gains={m: paired(values(answers, m), values(base, m)) for m in QUALITY},
        )
        for name, answers in asked.items()
    ]
