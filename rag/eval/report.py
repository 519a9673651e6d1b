"""The comparison of pipelines as one HTML file: table, plots, every answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.eval.answers import COST, QUALITY
from rag.eval.extra import library
from rag.files import write_atomically
from rag.paths import writing

if TYPE_CHECKING:
    from rag.eval.answers import Asked, Row
    from rag.eval.compare import Gain

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td.sure { font-weight: 600 }
figure { margin: 1rem 0; background: #fff; padding: .5rem; border-radius: 4px; overflow-x: auto }
details { margin: .3rem 0 } dt { font-weight: 600 } dd { margin: 0 0 .4rem 1rem }
.right::before { content: "\\2713  " } .wrong::before { content: "\\2717  " }
"""
NOTE = (
    "Gains are means over the same questions, with 95 % intervals by the paired bootstrap; those "
    "in bold leave zero out. They are over"
)


def write_report(path: Path, data: str, rows: Sequence[Row], asked: dict[str, list[Asked]]) -> None:
    """Write the report; it needs nothing but itself.

    Args:
        path: The file.
        data: The data set's name.
        rows: The table; the first row is what the others are compared with.
        asked: By pipeline.

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
        *_questions(asked),
    ]
    head = f'<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    with writing(path, "--html"):
        write_atomically(path, f"<!doctype html>{head}" + "\n".join(body) + "</html>\n")


def _table(rows: Sequence[Row]) -> str:
    heads = ["pipeline", *(name.replace("_", " ") for name in QUALITY), "containment, gain"]
    heads += [*(name.replace("_", " ") for name in COST), "errors"]
    lines = []
    for row in rows:
        gain = row.gains["containment"] if row is not rows[0] else None
        cells = [
            *(_cell(row.means[name], 3) for name in QUALITY),
            f'<td class="{"sure" if gain and gain.sure else ""}">{_gain(gain)}</td>',
            *(_cell(row.means[name], 1) for name in COST),
            f"<td>{row.errors}</td>",
        ]
        lines.append(f"<tr><td>{escape(row.pipeline)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(value: float | None, places: int) -> str:
    return "<td>-</td>" if value is None else f"<td>{value:.{places}f}</td>"


def _gain(gain: Gain | None) -> str:
    return "-" if gain is None else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _questions(asked: dict[str, list[Asked]]) -> list[str]:
    found = []
    for one in zip(*asked.values(), strict=True):
        said = []
        for name, answer in zip(asked, one, strict=True):
            mark = "right" if answer.containment else "wrong"
            text = answer.error or answer.answer or "(nothing)"
            said.append(f'<dt>{escape(name)}</dt><dd class="{mark}">{escape(text)}</dd>')
        right = sum(bool(answer.containment) for answer in one)
        found.append(
            f"<details><summary>{escape(one[0].question)} ({right} of {len(one)})</summary>"
            f"<p>Right: {escape('; '.join(one[0].gold))}</p><dl>{''.join(said)}</dl></details>"
        )
    return found


def _svg(draw: Any, rows: Sequence[Row]) -> str:
    """The plot as an SVG element."""
    matplotlib = library("matplotlib", "--html")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "rag", "font.size": 9}):
        figure = draw(pyplot, rows)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _gains(pyplot: Any, rows: Sequence[Row]) -> Any:
    """Each pipeline's gain in containment and token F1, with its interval."""
    figure, axes = pyplot.subplots(
        1, 2, figsize=(10, 1 + 0.32 * len(rows)), sharey=True, layout="constrained"
    )
    for axis, measure in zip(axes, ("containment", "token_f1"), strict=True):
        found = [(at, row.gains[measure]) for at, row in enumerate(rows[1:])]
        for at, gain in found:
            if gain is not None:
                axis.plot([gain.low, gain.high], [at, at], color="C0")
                axis.plot(gain.mean, at, "o", color="C0", fillstyle="full" if gain.sure else "none")
        axis.axvline(0, color="0.5", linewidth=0.8)
        axis.set_yticks(range(len(rows) - 1), [row.pipeline for row in rows[1:]])
        axis.set_xlabel(f"gain in {measure.replace('_', ' ')} over {rows[0].pipeline}")
    axes[0].set_ylim(len(rows) - 1.4, -0.6)
    return figure


def _costs(pyplot: Any, rows: Sequence[Row]) -> Any:
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
        axis.set_xlabel({"llm_calls": "model calls"}.get(cost, cost) + " per question")
    axes[0].set_ylabel("containment")
    return figure
