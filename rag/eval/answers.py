"""Pipelines side by side on the same questions: quality against LLM calls, tokens and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.errors import RagError
from rag.eval.compare import Gain, mean, paired_gain
from rag.eval.gold import context_precision, context_recall, gold_in, gold_in_texts, relevant
from rag.eval.metrics import contains, exact_match, token_f1
from rag.eval.results import AnswerResult, SourceText
from rag.eval.runtime import used
from rag.eval.stages import Stages, stages
from rag.flow.run.execution import Execution
from rag.flow.run.runtime import RUNTIME
from rag.text.abstention import abstains
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.eval.answer_cache import AnswerCache
    from rag.eval.dataset import Query
    from rag.eval.support import Judge
    from rag.flow import Flow

QUALITY = (
    "exact_match", "token_f1", "containment", "correctness", "abstention", "coverage",
    "gold_retrieved", "gold_reranked", "gold_read", "context_precision", "context_recall",
    "faithfulness", "citation_recall", "citation_precision",
)  # fmt: skip
COST = ("llm_calls", "tokens", "seconds", "runtime")


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
    with suppress(RagError):  # the record has it
        async for _ in run.astream():
            pass
    record = run.record
    reached = stages(flow, record)
    outputs, failed = record.outputs or {}, record.error is not None
    answer = str(outputs.get("answer") or "")
    abstained = not failed and abstains(answer)
    documents = outputs.get("documents") or ()
    verdict = await judge.judge(
        answer, documents, query=query.text, references=query.answers, answerable=query.answerable
    )
    return AnswerResult(
        id=query.id,
        question=query.text,
        gold=query.answers,
        answer=answer,
        answerable=query.answerable,
        kind=query.kind,
        abstained=abstained,
        **_compared(query, answer, abstained, failed),
        **_reached(query, reached),
        **asdict(verdict),
        llm_calls=record.llm_calls,
        tokens=record.tokens,
        seconds=record.seconds,
        error=None if record.error is None else str(record.error),
        sources=tuple(_source(query, one) for one in reached.given),
        prompts=reached.prompts,
        calls=used(record),
    )


def _compared(query: Query, answer: str, abstained: bool, failed: bool) -> dict[str, float]:
    """The measures of an answer beside the gold ones."""
    if query.answerable:
        return {
            "exact_match": exact_match(answer, query.answers),
            "token_f1": token_f1(answer, query.answers),
            "containment": contains(answer, query.answers),
            "coverage": float(not abstained and not failed),
        }
    names = ("exact_match", "token_f1", "containment", "abstention")
    return dict.fromkeys(names, float(abstained))


def _reached(query: Query, reached: Stages) -> dict[str, float | None]:
    """How far what the question needs came."""
    reranked = reached.reranked
    read = gold_in_texts(query, reached.read)
    return {
        "gold_retrieved": gold_in(query, reached.retrieved),
        "gold_reranked": None if reranked is None else gold_in(query, reranked),
        "gold_read": gold_in(query, reached.given) if read is None else read,
        "context_precision": context_precision([relevant(query, one) for one in reached.given]),
        "context_recall": context_recall(query, reached.given),
    }


def _source(query: Query, document: Document) -> SourceText:
    chunk = Chunk.of(document)
    return SourceText(chunk.path or chunk.source, chunk.embedding_text, relevant(query, document))


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
        queries: Questions with gold answers, or that cannot be answered.
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
