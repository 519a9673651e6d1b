"""The comparison of pipelines as rows of text: what `rag eval` prints and a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.eval.ranking import MEASURES

if TYPE_CHECKING:
    from rag.eval.answers import AnswerRow
    from rag.eval.compare import Gain
    from rag.eval.ranking import RankingRow


SHOWN = {
    "exact_match": "EM",
    "token_f1": "F1",
    "containment": "contains",
    "correctness": "correct",
    "abstention": "abstains",
    "coverage": "answers",
    "gold_retrieved": "gold found",
    "gold_reranked": "reranked",
    "gold_read": "read",
    "context_precision": "ctx P",
    "context_recall": "ctx R",
    "faithfulness": "faithful",
    "citation_recall": "cite R",
    "citation_precision": "cite P",
}
"""Measure of an answer to its column's title."""


@dataclass(frozen=True)
class Table:
    """A table of text: column titles, and one tuple of cells per pipeline."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def ranking_table(rows: Sequence[RankingRow]) -> Table:
    """Rankings; gains are over the first row."""
    columns = (
        "pipeline", "queries", "nDCG@10", "R@10", "R@100", "MRR@10", "depth", "ms",
        "nDCG@10, gain",
    )  # fmt: skip
    return Table(
        columns,
        tuple(
            (
                row.pipeline,
                str(row.queries),
                *(number(row.means[measure], 4) for measure in MEASURES),
                str(row.depth),
                f"{row.milliseconds:.1f}",
                gain(row.gain if row is not rows[0] else None),
            )
            for row in rows
        ),
    )


def answer_table(rows: Sequence[AnswerRow]) -> Table:
    """Answers; gains are over the first row."""
    shown = [name for name in SHOWN if any(row.means[name] is not None for row in rows)]
    main = "correctness" if "correctness" in shown else "containment"
    ideal = any(row.means["runtime"] is not None for row in rows)
    columns = (
        "pipeline", *(SHOWN[name] for name in shown), f"{SHOWN[main]}, gain",
        "calls", "tokens", "s", *(["ideal s"] if ideal else []), "errors",
    )  # fmt: skip
    return Table(
        columns,
        tuple(
            (
                row.pipeline,
                *(number(row.means[measure], 2) for measure in shown),
                gain(row.gains[main] if row is not rows[0] else None),
                number(row.means["llm_calls"], 1),
                number(row.means["tokens"], 0),
                number(row.means["seconds"], 1),
                *([number(row.means["runtime"], 2)] if ideal else []),
                str(row.errors),
            )
            for row in rows
        ),
    )


def number(value: float | None, decimals: int) -> str:
    """A number with so many decimals; `-` if there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"


def gain(value: Gain | None) -> str:
    """A gain with its interval; `-` if there is none."""
    return "-" if value is None else str(value)
