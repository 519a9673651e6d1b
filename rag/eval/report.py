"""The comparison of pipelines as one HTML file: table, plots, every answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.eval.answers import COST, QUALITY
from rag.eval.tables import gain, number
from rag.extras import require
from rag.files import write_atomically
from rag.paths import write_errors

if TYPE_CHECKING:
    from rag.eval.answers import AnswerRow
    from rag.eval.results import AnswerResult

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td.significant { font-weight: 600 }
figure { margin: 1rem 0; background: #fff; padding: .5rem; border-radius: 4px; overflow-x: auto }
details { margin: .3rem 0 } dt { font-weight: 600 } dd { margin: 0 0 .4rem 1rem }
.right::before { content: "\\2713  " } .wrong::before { content: "\\2717  " }
"""
NOTE = (
    "Gains are means over the same questions, with 95 % intervals by the paired bootstrap; in "
    "bold if the interval excludes zero. The baseline is"
)


def write_report(
    path: Path,
    data: str,
    rows: Sequence[AnswerRow],
    results: dict[str, list[AnswerResult]],
) -> None:
    """Write the report, as one file that loads nothing else.

    Args:
        path: The file.
        data: The data set's name.
        rows: The table; the first row is the baseline.
        results: By pipeline.

    Raises:
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    first = rows[0].pipeline
    title = f"{escape(data)}: {len(rows)} pipelines, {rows[0].questions} questions"
    body = [
        f"<h1>{title}</h1>",
        _table(rows),
        f"<p>{NOTE} <b>{escape(first)}</b>.</p>",
        f"<figure>{_svg(_gains, rows)}</figure>" if len(rows) > 1 else "",
        f"<figure>{_svg(_costs, rows)}</figure>",
        "<h2>Every answer</h2>",
        *_questions(results),
    ]
    head = f'<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    with write_errors(path, "--html"):
        write_atomically(path, f"<!doctype html>{head}" + "\n".join(body) + "</html>\n")


def _table(rows: Sequence[AnswerRow]) -> str:
    heads = ["pipeline", *(name.replace("_", " ") for name in QUALITY), "containment, gain"]
    heads += [*(name.replace("_", " ") for name in COST), "errors"]
    lines = []
    for row in rows:
        over = row.gains["containment"] if row is not rows[0] else None
        mark = ' class="significant"' if over and over.significant else ""
        cells = [
            *(f"<td>{number(row.means[name], 3)}</td>" for name in QUALITY),
            f"<td{mark}>{gain(over)}</td>",
            *(f"<td>{number(row.means[name], 1)}</td>" for name in COST),
            f"<td>{row.errors}</td>",
        ]
        lines.append(f"<tr><td>{escape(row.pipeline)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _questions(results: dict[str, list[AnswerResult]]) -> list[str]:
    """Each question with the answers of all pipelines."""
    details = []
    for answers in zip(*results.values(), strict=True):
        entries = []
        for name, one in zip(results, answers, strict=True):
            mark = "right" if one.containment else "wrong"
            text = one.error or one.answer or "(empty)"
            entries.append(f'<dt>{escape(name)}</dt><dd class="{mark}">{escape(text)}</dd>')
        right, first = sum(bool(one.containment) for one in answers), answers[0]
        details.append(
            f"<details><summary>{escape(first.question)} ({right} of {len(answers)})</summary>"
            f"<p>Gold: {escape('; '.join(first.gold))}</p><dl>{''.join(entries)}</dl></details>"
        )
    return details


def _svg(draw: Any, rows: Sequence[AnswerRow]) -> str:
    """The plot as an SVG element."""
    matplotlib = require("matplotlib", "eval", where="--html")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "rag", "font.size": 9}):
        figure = draw(pyplot, rows)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _gains(pyplot: Any, rows: Sequence[AnswerRow]) -> Any:
    """Each pipeline's gain in containment and token F1, with its interval."""
    figure, axes = pyplot.subplots(
        1, 2, figsize=(10, 1 + 0.32 * len(rows)), sharey=True, layout="constrained"
    )
    for axis, measure in zip(axes, ("containment", "token_f1"), strict=True):
        for at, row in enumerate(rows[1:]):
            over = row.gains[measure]
            if over is not None:
                fill = "full" if over.significant else "none"
                axis.plot([over.low, over.high], [at, at], color="C0")
                axis.plot(over.mean, at, "o", color="C0", fillstyle=fill)
        axis.axvline(0, color="0.5", linewidth=0.8)
        axis.set_yticks(range(len(rows) - 1), [row.pipeline for row in rows[1:]])
        axis.set_xlabel(f"gain in {measure.replace('_', ' ')} over {rows[0].pipeline}")
    axes[0].set_ylim(len(rows) - 1.4, -0.6)
    return figure


def _costs(pyplot: Any, rows: Sequence[AnswerRow]) -> Any:
    """Containment against each cost."""
    figure, axes = pyplot.subplots(
        1, len(COST), figsize=(11, 3.6), sharey=True, layout="constrained"
    )
    for axis, cost in zip(axes, COST, strict=True):
        for row in rows:
            x, y = row.means[cost], row.means["containment"]
            if x is not None and y is not None:
                axis.plot(x, y, "o", color="C0")
                axis.annotate(row.pipeline, (x, y), fontsize=7, rotation=20)
        axis.set_xlabel({"llm_calls": "LLM calls"}.get(cost, cost) + " per question")
    axes[0].set_ylabel("containment")
    return figure
