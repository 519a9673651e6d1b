"""The plots of a report, as SVG: gains, where answers are lost, quality against cost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.eval.answers import COST
from rag.eval.compare import interval
from rag.extras import require

if TYPE_CHECKING:
    from rag.eval.answers import AnswerRow
    from rag.eval.results import AnswerResult

STAGES = {
    "gold_retrieved": "retrieved",
    "gold_reranked": "kept by the reranker",
    "gold_read": "in the prompt",
}

COSTS = {"llm_calls": "LLM calls", "runtime": "idealized seconds"}
"""What costs are called in a report."""


def svg(draw: Any, *given: Any) -> str:
    """A plot as an SVG element.

    Args:
        draw: One of the functions below.
        given: Its arguments after pyplot.
    """
    matplotlib = require("matplotlib", "eval", where="--html")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "rag", "font.size": 10}):
        figure = draw(pyplot, *given)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def gains(pyplot: Any, rows: Sequence[AnswerRow], measure: str) -> Any:
    """Each pipeline's gain in a measure, with its interval; zero is always in sight."""
    figure, axis = pyplot.subplots(figsize=(9, 1 + 0.34 * len(rows)), layout="constrained")
    for at, row in enumerate(rows[1:]):
        over = row.gains[measure]
        if over is not None:
            fill = "full" if over.significant else "none"
            axis.plot([over.low, over.high], [at, at], color="C0")
            axis.plot(over.mean, at, "o", color="C0", fillstyle=fill)
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.set_yticks(range(len(rows) - 1), [row.pipeline for row in rows[1:]])
    axis.set_xlabel(f"gain in {measure} over {rows[0].pipeline}, with 95 % interval")
    axis.set_ylim(len(rows) - 1.4, -0.6)
    return figure


def losses(pyplot: Any, results: dict[str, list[AnswerResult]]) -> Any:
    """For each pipeline how much of the gold every stage has, and how many answers are right."""
    figure, axis = pyplot.subplots(figsize=(9, 1 + 0.62 * len(results)), layout="constrained")
    width = 0.8 / (len(STAGES) + 1)
    for at, answers in enumerate(results.values()):
        known = [one for one in answers if one.answerable]
        bars = [(label, [getattr(one, name) for one in known]) for name, label in STAGES.items()]
        bars.append(("right answer", [float(one.right) for one in known]))
        for number, (label, values) in enumerate(bars):
            found = interval(values)
            if found is None:
                continue
            y = at + (number - len(STAGES) / 2) * width
            axis.barh(
                y, found.mean, width * 0.9, color=f"C{number}", label=label if not at else None
            )
            axis.plot([found.low, found.high], [y, y], color="0.2", linewidth=1)
    axis.set_yticks(range(len(results)), list(results))
    axis.set_ylim(len(results) - 0.4, -0.6)
    axis.set_xlim(0, 1)
    axis.set_xlabel("share of the answerable questions, with 95 % interval")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
    return figure


def costs(pyplot: Any, results: dict[str, list[AnswerResult]]) -> Any:
    """The share of right answers, with its interval, against each cost; all axes start at 0."""
    every = [one for answers in results.values() for one in answers]
    known = [cost for cost in COST if any(getattr(one, cost) is not None for one in every)]
    size = {"figsize": (11, 4), "sharey": True, "layout": "constrained"}
    figure, axes = pyplot.subplots(1, len(known), **size)
    for axis, cost in zip(axes, known, strict=True):
        for number, (name, answers) in enumerate(results.items()):
            right = interval([float(one.right) for one in answers])
            spent = interval([getattr(one, cost) for one in answers])
            if right is None or spent is None:
                continue
            style = {"color": f"C{number % 10}", "marker": "os^Dv"[number // 10 % 5]}
            axis.plot([spent.mean] * 2, [right.low, right.high], color=style["color"], alpha=0.4)
            axis.plot(spent.mean, right.mean, linestyle="none", label=name, **style)
        axis.set_xlim(left=0)
        axis.set_ylim(0, 1)
        axis.set_xlabel(COSTS.get(cost, cost) + " per question")
    axes[0].set_ylabel("share of right answers")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
    )
    return figure
