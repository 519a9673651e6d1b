"""Pipelines side by side on the same questions: quality against model calls, tokens and seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rag.errors import RagError
from rag.eval.metrics import contains, exact_match, token_f1
from rag.files import write_atomically

if TYPE_CHECKING:
    from rag.eval.beir import Query
    from rag.flow import Flow

RESAMPLES = 10_000
MEASURES = ("exact_match", "token_f1", "containment")


@dataclass(frozen=True)
class Asked:
    """One question put to one pipeline.

    Attributes:
        id: The question's.
        answer: What was said; empty where the run failed.
        exact_match: 0 or 1, as `token_f1` and `containment` a comparison with the gold answers.
        token_f1: 0 to 1.
        containment: 0 or 1.
        llm_calls: Calls of a language model.
        tokens: Read and written by it.
        seconds: Of the run.
        error: Of a run that failed; it counts as a wrong answer.
    """

    id: str
    answer: str
    exact_match: float
    token_f1: float
    containment: float
    llm_calls: int
    tokens: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Row:
    """A pipeline's means, and how its answers differ from the baseline's.

    Attributes:
        gain: Mean difference of containment to the baseline, paired by question.
        low: Lower end of its 95 % interval by bootstrap.
        high: The upper end.
    """

    pipeline: str
    questions: int
    exact_match: float
    token_f1: float
    containment: float
    llm_calls: float
    tokens: float
    seconds: float
    errors: int
    gain: float
    low: float
    high: float


def ask(flow: Flow, query: Query) -> Asked:
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
        error = failed.what
    answer = str(done.result.get("answer") or "") if done else ""
    return Asked(
        id=query.id,
        answer=answer,
        exact_match=exact_match(answer, query.answers),
        token_f1=token_f1(answer, query.answers),
        containment=contains(answer, query.answers),
        llm_calls=done.llm_calls if done else 0,
        tokens=done.tokens if done else 0,
        seconds=perf_counter() - started,
        error=error,
    )


def ask_all(
    flow: Flow, queries: Sequence[Query], kept: Path | None, told: Callable[[int, int], None]
) -> list[Asked]:
    """Put all questions to a pipeline.

    Args:
        flow: The pipeline.
        queries: With gold answers.
        kept: File of results, one JSON object a line: those that stand in it are not asked
            again, so that a benchmark may be stopped and started.
        told: How many of how many.
    """
    known = _read(kept) if kept is not None and kept.exists() else {}
    found = []
    for number, query in enumerate(queries):
        told(number, len(queries))
        if query.id not in known:
            known[query.id] = ask(flow, query)
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(known[query.id]), ensure_ascii=False) + "\n")
        found.append(known[query.id])
    return found


def _read(kept: Path) -> dict[str, Asked]:
    """What stands in the file; a line that a killed run left half written is taken out."""
    known: dict[str, Asked] = {}
    text = kept.read_text(encoding="utf-8")
    good = ""
    for line in text.splitlines(keepends=True):
        try:
            one = Asked(**json.loads(line))
        except (ValueError, TypeError):
            continue
        known[one.id] = one
        good += line
    if good != text:
        write_atomically(kept, good)
    return known


def rows(asked: dict[str, list[Asked]], baseline: str) -> list[Row]:
    """The table: a row for each pipeline, compared with the baseline's answers."""
    import numpy as np

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    base = [one.containment for one in asked[baseline]]
    made = []
    for name, answers in asked.items():
        gain, low, high = paired([one.containment for one in answers], base)
        made.append(
            Row(
                pipeline=name,
                questions=len(answers),
                exact_match=mean([one.exact_match for one in answers]),
                token_f1=mean([one.token_f1 for one in answers]),
                containment=mean([one.containment for one in answers]),
                llm_calls=mean([one.llm_calls for one in answers]),
                tokens=mean([one.tokens for one in answers]),
                seconds=mean([one.seconds for one in answers]),
                errors=sum(one.error is not None for one in answers),
                gain=gain,
                low=low,
                high=high,
            )
        )
    return made


def paired(
    one: Sequence[float], other: Sequence[float], seed: int = 0
) -> tuple[float, float, float]:
    """Mean of the differences and its 95 % interval, by the paired bootstrap.

    Args:
        one: Values by question.
        other: Of the same questions.
        seed: Of the draws.
    """
    import numpy as np

    differences = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    chance = np.random.default_rng(seed)
    drawn = chance.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(1), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)
