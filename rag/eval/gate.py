"""A gate for continuous integration: answers must not fall behind a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.eval.compare import Gain, paired_gain
from rag.eval.results import AnswerResult, result_of
from rag.eval.rows import json_rows

if TYPE_CHECKING:
    from rag.eval.dataset import Query

EXAMPLE = "one that `rag eval answers --out FOLDER` wrote"


@dataclass(frozen=True)
class Check:
    """Whether a pipeline passes.

    Attributes:
        pipeline: Its name.
        measure: What is compared.
        gain: Over the baseline; None: no question has both values.
        limit: What the interval must not fall below.
    """

    pipeline: str
    measure: str
    gain: Gain | None
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the whole 95 % interval of the gain is at or above the limit."""
        return self.gain is not None and self.gain.low >= self.limit

    def __str__(self) -> str:
        verdict = "passes" if self.passed else "fails"
        found = "no question has a value" if self.gain is None else str(self.gain)
        return f"{self.pipeline} {verdict}: {self.measure} {found}, limit {self.limit:+.3f}"


def checks(results: dict[str, list[AnswerResult]], measure: str, limit: float) -> list[Check]:
    """Check each pipeline against the first, which is the baseline, paired by question.

    Args:
        results: By pipeline; the same questions in the same order.
        measure: A measure of `rag.eval.answers.QUALITY`.
        limit: The least that the interval of the gain may reach down to; below 0 it is the loss
            that is tolerated.
    """
    (_, baseline), *others = results.items()
    before = [getattr(one, measure) for one in baseline]
    return [
        Check(name, measure, paired_gain([getattr(one, measure) for one in found], before), limit)
        for name, found in others
    ]


def read_baseline(file: Path, queries: Sequence[Query]) -> list[AnswerResult]:
    """The answers of an earlier run, one for each question, in the order of the questions.

    Args:
        file: As `rag eval answers --out` writes it.
        queries: The questions.

    Raises:
        ConfigError: The file is no such file, or lacks a question or has it with another text or
            another gold answer: the gain would not be paired.
    """
    found: dict[str, AnswerResult] = {}
    for number, row in json_rows(file, EXAMPLE):
        try:
            result = result_of({k: v for k, v in row.items() if k not in ("digest", "query")})
        except (TypeError, KeyError, AttributeError) as error:
            fix = f"give {EXAMPLE}"
            raise ConfigError(
                "it holds no result of an answer", where=f"{file}:{number}", fix=fix
            ) from error
        found[result.id] = result
    for query in queries:
        before = found.get(query.id)
        expected = (query.text, query.answers, query.answerable)
        if before is None or (before.question, before.gold, before.answerable) != expected:
            what = "is not in it" if before is None else "was another one then"
            raise ConfigError(
                f"the question {query.id!r} {what}", where=str(file),
                fix="measure the baseline again, on the same questions",
            )  # fmt: skip
    return [found[query.id] for query in queries]
