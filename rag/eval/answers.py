"""Pipelines side by side on the same questions: quality against model calls, tokens and seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rag.errors import RagError
from rag.eval.compare import Gain, mean, paired
from rag.eval.metrics import contains, exact_match, token_f1
from rag.files import write_atomically

if TYPE_CHECKING:
    from rag.eval.beir import Query
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
        llm_calls: Calls of a language model.
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


def ask(flow: Flow, query: Query, judge: Judge) -> Asked:
    """Put one question to a pipeline; a failure is a result too."""
    from rag.flow.events import Done

    started = perf_counter()
    done: Done | None = None
    error = None
    try:
        for event in flow.stream(query=query.text):
            if isinstance(event, Done):
                done = event
    except RagError as failed:
        error = str(failed)
    seconds = perf_counter() - started
    answer = str(done.result.get("answer") or "") if done else ""
    supported = judge.judge(answer, (done.result.get("documents") or ()) if done else ())
    return Asked(
        id=query.id,
        question=query.text,
        gold=query.answers,
        answer=answer,
        exact_match=exact_match(answer, query.answers),
        token_f1=token_f1(answer, query.answers),
        containment=contains(answer, query.answers),
        **asdict(supported),
        llm_calls=done.llm_calls if done else 0,
        tokens=done.tokens if done else 0,
        seconds=seconds,
        error=error,
    )


def ask_all(
    flow: Flow,
    queries: Sequence[Query],
    judge: Judge,
    kept: Path | None,
    told: Callable[[int, int], None],
) -> list[Asked]:
    """Put all questions to a pipeline.

    Args:
        flow: The pipeline.
        queries: With gold answers.
        judge: Of support.
        kept: File of results, one JSON object a line. Questions that this flow answered there
            are not asked again, so that a long run may be stopped and started; what another
            flow answered is dropped.
        told: How many of how many.
    """
    from rag.flow.checkpoint.checkpoints import digest_of

    digest = digest_of(flow)[:16]
    known = _read(kept, digest) if kept is not None and kept.exists() else {}
    found = []
    for number, query in enumerate(queries):
        told(number, len(queries))
        if query.id not in known:
            known[query.id] = ask(flow, query, judge)
            if kept is not None:
                line = json.dumps({"flow": digest, **asdict(known[query.id])}, ensure_ascii=False)
                with kept.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
        found.append(known[query.id])
    return found


def _read(kept: Path, digest: str) -> dict[str, Asked]:
    """What the flow answered; other lines, and one half written by a killed run, are taken out."""
    known: dict[str, Asked] = {}
    text = kept.read_text(encoding="utf-8")
    good = ""
    for line in text.splitlines(keepends=True):
        try:
            record = json.loads(line)
            if record.pop("flow") != digest:
                continue
            one = Asked(**{**record, "gold": tuple(record["gold"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        known[one.id] = one
        good += line
    if good != text:
        write_atomically(kept, good)
    return known


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
