"""What a search has found, as tables, as a plot, and as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.eval.plots import svg
from rag.eval.tables import Table, gain, number
from rag.files import write_atomically
from rag.paths import write_errors
from rag.tune.settings import sign

if TYPE_CHECKING:
    from rag.tune.outcome import Outcome, Row
    from rag.tune.settings import Settings

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}pre{background:#f4f4f4;padding:1em;"
    "overflow-x:auto}"
)
CAPTION = "Means on the questions of the search; filled: the front; square: as written."
NOTE = (
    "Intervals are of 95 %, by the paired bootstrap. The winner was chosen before these questions "
    "were asked."
)


def front_table(found: Outcome, settings: Settings) -> Table:
    """The baseline and the front: means on the held-out questions, and gains in the first."""
    first = settings.objectives[0]
    columns = ("trial", "what differs", "questions", *settings.measures, f"{first}, gain")
    rows = [found.baseline, *(row for row in found.front if row.trial)]
    return Table(
        columns,
        tuple(
            (
                "as written" if not row.trial else str(row.trial),
                shown(row.config) or "-",
                str(row.questions),
                *(number(row.held[name], 3) for name in settings.measures),
                gain(row.gains[first] if row.trial else None),
            )
            for row in rows
        ),
    )


def importance_table(found: Outcome) -> Table:
    """Dimensions by what they mattered."""
    rows = ((name, f"{share:.0%}") for name, share in found.importance.items())
    return Table(("dimension", "share of the differences"), tuple(rows))


def shown(config: Mapping[str, Any]) -> str:
    """A configuration on one line."""
    parts = []
    for name, value in config.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        parts.append(f"{name.partition('.')[2]}={text}")
    return ", ".join(parts)


def summary(found: Outcome, settings: Settings, name: str) -> list[str]:
    """What the winner gains, in lines of text.

    Raises:
        ConfigError: No configuration keeps the constraints.
    """
    best = found.winner
    if not best.trial:
        return [f"Nothing better than {name} was found: it stays as it is."]
    lines = [f"Found by `rag tune`, from {name}: {shown(best.config)}."]
    for measure in settings.measures:
        over = best.gains[measure]
        if over is not None and best.held[measure] is not None:
            # Gains in costs are shown as what is saved.
            what = "saves" if sign(measure) < 0 else "gains"
            lines.append(
                f"{measure}: {number(best.held[measure], 3)} on {found.held} questions that the "
                f"search never saw, {what} {over}."
            )
    return lines


def failures(found: Outcome) -> list[str]:
    """Which trials failed for some of their questions, in lines of text."""
    return [
        f"{f'Trial {trial}' if trial else 'As written'}: {why}"
        for trial, why in found.failed.items()
    ]


def write_report(path: Path, found: Outcome, settings: Settings, name: str, text: str) -> None:
    """Write the result as one HTML file that loads nothing else.

    Args:
        path: The file.
        found: The result.
        settings: Of the search.
        name: Of the pipeline.
        text: The winner as a pipeline file.

    Raises:
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    title = f"{escape(name)}: {found.trials} configurations, {found.spent} questions put to them"
    gone = [(str(trial), why) for trial, why in found.dropped.items()]
    body = [
        f"<h1>{title}</h1>",
        *(f"<p>{escape(line)}</p>" for line in summary(found, settings, name)),
        f"<figure>{svg(front_plot, found, settings)}<figcaption>{CAPTION}</figcaption></figure>",
        _html(front_table(found, settings)),
        f"<p>Means and gains on {found.held} held-out questions. {NOTE}</p>",
        "<h2>What mattered</h2>" if found.importance else "",
        _html(importance_table(found)) if found.importance else "",
        f"<h2>The winner</h2><pre>{escape(text)}</pre>",
        "<h2>What was dropped</h2>",
        _html(Table(("trial", "why"), tuple(gone))),
        *(f"<p>{escape(line)}</p>" for line in failures(found)),
    ]
    head = f'<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    with write_errors(path, "--html"):
        write_atomically(path, f"<!doctype html>{head}" + "\n".join(body) + "</html>\n")


def _html(table: Table) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in table.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def front_plot(pyplot: Any, found: Outcome, settings: Settings) -> Any:
    """Every trial by the first objective, against each of the others."""
    first, *others = settings.objectives
    if not others:
        return _ranks(pyplot, found, first)
    size = (5.5 * len(others), 4)
    figure, axes = pyplot.subplots(
        1, len(others), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, other in zip(axes[0], others, strict=True):
        _points(axis, found, lambda means, other=other: (means[other], means[first]))
        front = sorted(_known(found.front, other, first))
        axis.plot([x for x, _ in front], [y for _, y in front], color="C0", alpha=0.5)
        axis.set_xlabel(other)
    axes[0][0].set_ylabel(first)
    return figure


def _ranks(pyplot: Any, found: Outcome, first: str) -> Any:
    """Every trial by the only objective, in the order in which they were proposed."""
    figure, axis = pyplot.subplots(figsize=(9, 4), layout="constrained")
    for trial, means in found.points.items():
        if means[first] is not None:
            axis.plot(trial, means[first], **_style(found, trial))
    axis.set_xlabel("trial")
    axis.set_ylabel(first)
    return figure


def _points(axis: Any, found: Outcome, at: Any) -> None:
    for trial, means in found.points.items():
        x, y = at(means)
        if x is not None and y is not None:
            axis.plot(x, y, **_style(found, trial))


def _style(found: Outcome, trial: int) -> dict[str, Any]:
    front = {row.trial for row in found.front}
    fill = "full" if trial in front else "none"
    return {"marker": "o" if trial else "s", "color": "C0" if trial else "C1", "fillstyle": fill,
            "linestyle": "none"}  # fmt: skip


def _known(rows: Sequence[Row], *names: str) -> list[tuple[float, ...]]:
    found = []
    for row in rows:
        values = tuple(row.means[name] for name in names)
        known = tuple(one for one in values if one is not None)
        if len(known) == len(values):
            found.append(known)
    return found
