"""Pipelines side by side on the same questions: quality against LLM calls, tokens and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rag.errors import RagError
from rag.eval.compare import Gain, mean, paired_gain
from rag.eval.metrics import contains, exact_match, token_f1
from rag.eval.results import AnswerResult
from rag.flow.run.execution import Execution
from rag.flow.run.runtime import RUNTIME

if TYPE_CHECKING:
    from rag.eval.answer_cache import AnswerCache
    from rag.eval.beir import Query
    from rag.eval.support import Judge
    from rag.flow import Flow

QUALITY = (
    "exact_match", "token_f1", "containment",
    "faithfulness", "citation_recall", "citation_precision",
)  # fmt: skip
COST = ("llm_calls", "tokens", "seconds")


@dataclass(frozen=True)
class AnswerRow:
    """A pipeline's means, and its gains over the baseline on the same questions.

    Attributes:
        pipeline: Its name.
        questions: Number of questions.
        errors: Number of runs that failed.
        means: By measure of `QUALITY` and `COST`; None if no question has a value.
        gains: By measure of `QUALITY`, over the baseline.
    """

    pipeline: str
    questions: int
    errors: int
    means: dict[str, float | None]
    gains: dict[str, Gain | None]


async def ask(flow: Flow, query: Query, judge: Judge) -> AnswerResult:
    """Put one question to a pipeline; a failed run is a result too, with what it cost.

    Raises:
        InputError: The pipeline pauses for approval.
    """
    run = Execution(flow, {"query": query.text})
    outputs: dict[str, Any] = {}
    error = None
    started = perf_counter()
    try:
        outputs = await run.ainvoke()
    except RagError as failure:
        error = str(failure)
    seconds = perf_counter() - started
    answer = str(outputs.get("answer") or "")
    support = await asyncio.to_thread(judge.judge, answer, outputs.get("documents") or ())
    return AnswerResult(
        id=query.id,
        question=query.text,
        gold=query.answers,
        answer=answer,
        exact_match=exact_match(answer, query.answers),
        token_f1=token_f1(answer, query.answers),
        containment=contains(answer, query.answers),
        **asdict(support),
        llm_calls=run.spent.llm_calls,
        tokens=run.spent.tokens,
        seconds=seconds,
        error=error,
    )


def ask_all(
    flow: Flow,
    queries: Sequence[Query],
    judge: Judge,
    *,
    cache: AnswerCache | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    concurrency: int = 1,
) -> list[AnswerResult]:
    """Put all questions to a pipeline.

    Args:
        flow: The pipeline.
        queries: Questions with gold answers.
        judge: Measures support and citations.
        cache: Answers of an earlier run, which are not asked again; new answers are added.
        progress: Called with the number of answered questions and of all.
        concurrency: Questions answered at a time; a local model decodes them together.

    Returns:
        One result per question, in the order of the questions.

    Raises:
        ConfigError: The cache cannot be written.
        InputError: The pipeline pauses for approval.
    """
    results = {query.id: cache.get(query) if cache is not None else None for query in queries}
    waiting = [query for query in queries if results[query.id] is None]

    async def work() -> None:
        while waiting:
            query = waiting.pop(0)
            result = results[query.id] = await ask(flow, query, judge)
            if cache is not None:
                cache.add(result)
            progress(sum(one is not None for one in results.values()), len(queries))

    async def work_concurrently() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(waiting))):
                group.create_task(work())

    try:
        RUNTIME.run(work_concurrently())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [result for query in queries if (result := results[query.id]) is not None]


def answer_rows(results: dict[str, list[AnswerResult]]) -> list[AnswerRow]:
    """One row per pipeline, each compared with the first.

    Args:
        results: By pipeline; the same questions in the same order.
    """
    baseline = next(iter(results.values()))

    def values(answers: Sequence[AnswerResult], measure: str) -> list[float | None]:
        return [getattr(one, measure) for one in answers]

    return [
        AnswerRow(
            pipeline=name,
            questions=len(answers),
            errors=sum(one.error is not None for one in answers),
            means={m: mean(values(answers, m)) for m in (*QUALITY, *COST)},
            gains={m: paired_gain(values(answers, m), values(baseline, m)) for m in QUALITY},
        )
        for name, answers in results.items()
    ]
