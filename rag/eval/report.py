"""The comparison of pipelines as one HTML file: why answers are wrong, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rag.eval.answers import COST, QUALITY
from rag.eval.compare import mean
from rag.eval.plots import COSTS, costs, gains, losses, svg
from rag.eval.tables import SHOWN, gain, number
from rag.files import write_atomically
from rag.paths import write_errors

if TYPE_CHECKING:
    from rag.eval.answers import AnswerRow
    from rag.eval.gate import Check
    from rag.eval.results import AnswerResult

LOST = ("retrieval", "reranking", "selection", "generation", "abstention", "error")
NOTE = (
    "Gains are means over the same questions, with 95 % intervals by the paired bootstrap; in "
    "bold if the interval excludes zero. The baseline is"
)


def write_report(
    path: Path,
    data: str,
    rows: Sequence[AnswerRow],
    results: Mapping[str, list[AnswerResult]],
    configurations: Mapping[str, str] | None = None,
    *,
    judge: str = "words",
    checks: Sequence[Check] = (),
    made: str = "",
) -> None:
    """Write the report, as one file that loads nothing else.

    Args:
        path: The file.
        data: The data set's name.
        rows: The table; the first row is the baseline.
        results: By pipeline; the same questions in the same order.
        configurations: Pipeline to its file's text.
        judge: What judged support.
        checks: Of a gate.
        made: When it was made.

    Raises:
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    found = dict(results)
    title = f"{escape(data)}: {len(rows)} pipelines, {rows[0].questions} questions"
    about = f"Judged by {escape(judge)}." + (f" Made {escape(made)}." if made else "")
    measure = "correctness" if rows[0].means["correctness"] is not None else "containment"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="about">{about}</p>',
        *(f'<p class="{_class(one.passed)}">{escape(str(one))}</p>' for one in checks),
        _table(rows, measure),
        f"<p>{NOTE} <b>{escape(rows[0].pipeline)}</b>.</p>",
        _kinds(found),
        _figure(svg(losses, found), "Where answers are lost. Bars start at zero."),
        _figure(svg(gains, rows, measure), "Filled: the interval excludes zero.")
        if len(rows) > 1 else "",
        _figure(svg(costs, found), "Quality against cost. All axes start at zero."),
        "<h2>Configurations</h2>" if configurations else "",
        *(_folded(escape(name), text) for name, text in (configurations or {}).items()),
        "<h2>Every answer</h2>",
        _filters(found),
        *_questions(found),
        f"<script>{_asset('report.js')}</script>",
    ]  # fmt: skip
    head = (
        '<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_asset('report.css')}</style>"
    )
    with write_errors(path, "--html"):
        write_atomically(path, f"<!doctype html>{head}" + "\n".join(body) + "</html>\n")


def _class(good: bool) -> str:
    return "right" if good else "wrong"


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _figure(plot: str, caption: str) -> str:
    return f"<figure>{plot}<figcaption>{caption}</figcaption></figure>"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary><pre>{escape(text)}</pre></details>"


def _cells(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells, each with its tag."""
    titles = "".join(one if one.startswith("<th") else f"<th>{one}</th>" for one in head)
    rows = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"


def _title(measure: str) -> str:
    """A measure's short name as a column's title, with the long one behind it."""
    return f'<th title="{measure.replace("_", " ")}">{SHOWN[measure]}</th>'


def _table(rows: Sequence[AnswerRow], measure: str) -> str:
    shown = [name for name in QUALITY if any(row.means[name] is not None for row in rows)]
    heads = ["pipeline", f"{SHOWN[measure]}, gain", *(_title(name) for name in shown)]
    spent = [name for name in COST if any(row.means[name] is not None for row in rows)]
    heads += [f"<th>{COSTS.get(name, name)}</th>" for name in spent] + ["errors"]
    lines = []
    for row in rows:
        over = row.gains[measure] if row is not rows[0] else None
        mark = ' class="significant"' if over and over.significant else ""
        lines.append([
            f"<td>{escape(row.pipeline)}</td>",
            f"<td{mark}>{gain(over)}</td>",
            *(f"<td>{number(row.means[name], 2)}</td>" for name in shown),
            *(f"<td>{number(row.means[name], 1)}</td>" for name in spent),
            f"<td>{row.errors}</td>",
        ])  # fmt: skip
    return _cells(heads, lines)


def _kinds(results: Mapping[str, Sequence[AnswerResult]]) -> str:
    """The share of right answers by kind of question; nothing if there is one kind only."""
    kinds = sorted({one.kind for answers in results.values() for one in answers})
    if len(kinds) < 2:
        return ""
    count = {kind: sum(one.kind == kind for one in next(iter(results.values()))) for kind in kinds}
    heads = ["right answers by kind", *(f"{escape(k or 'other')} ({count[k]})" for k in kinds)]
    lines = []
    for name, answers in results.items():
        shares = [mean([float(one.right) for one in answers if one.kind == kind]) for kind in kinds]
        lines.append([f"<td>{escape(name)}</td>", *(f"<td>{number(x, 2)}</td>" for x in shares)])
    return _cells(heads, lines)


def _filters(results: Mapping[str, Sequence[AnswerResult]]) -> str:
    kinds = sorted({one.kind for answers in results.values() for one in answers} - {""})
    boxes = {"wrong": "wrong somewhere"}
    if len(results) > 1:
        boxes = {"differs": "differs", **boxes, "worse": "worse than the baseline"}
    parts = [f'<label><input type="checkbox" name="{n}"> {t}</label>' for n, t in boxes.items()]
    parts.append(_choice("lost", "lost in", LOST))
    parts += [_choice("kind", "kind", kinds)] if kinds else []
    parts.append('<label>search <input type="search" name="text"></label><output></output>')
    return f"<form>{''.join(parts)}</form>"


def _choice(name: str, label: str, values: Sequence[str]) -> str:
    options = "".join(f"<option>{escape(one)}</option>" for one in values)
    return (
        f'<label>{label} <select name="{name}"><option value=""></option>{options}</select></label>'
    )


def _questions(results: Mapping[str, Sequence[AnswerResult]]) -> Iterator[str]:
    """Each question with the answers of all pipelines."""
    for answers in zip(*results.values(), strict=True):
        first = answers[0]
        right = [one.right for one in answers]
        flags = {
            "differs": len({*right}) > 1,
            "wrong": not all(right),
            "worse": first.right and not all(right),
        }
        data = "".join(f' data-{name}="{int(value)}"' for name, value in flags.items())
        lost = " ".join(dict.fromkeys(one.lost for one in answers if one.lost))
        marks = "".join("\u2713" if one else "\u2717" for one in right)
        gold = "; ".join(first.gold) if first.answerable else "(the sources do not say)"
        entries = "".join(_answer(name, one) for name, one in zip(results, answers, strict=True))
        yield (
            f'<details class="question"{data} data-lost="{lost}" data-kind="{escape(first.kind)}">'
            f'<summary><span class="marks">{marks}</span>{escape(first.question)}</summary>'
            f"<p>Gold: {escape(gold)}</p><dl>{entries}</dl></details>"
        )


def _answer(pipeline: str, one: AnswerResult) -> str:
    """One pipeline's answer, with its measures, its cost, its sources and its prompts."""
    values = {name: getattr(one, name) for name in QUALITY}
    measured = [f"{n.replace('_', ' ')} {v:.2f}" for n, v in values.items() if v is not None]
    spent = f"{one.llm_calls} LLM calls, {one.tokens} tokens, {one.seconds:.2f} s"
    spent += "" if one.runtime is None else f", idealized {one.runtime:.2f} s"
    lost = f" <b>lost in {one.lost}</b>" if one.lost in LOST[:4] else ""
    sources = "".join(
        f'<p class="{"relevant" if source.relevant else "other"}">[{n}] {escape(source.name)}</p>'
        f"<pre>{escape(source.text)}</pre>"
        for n, source in enumerate(one.sources, start=1)
    )
    prompts = "".join(f"<pre>{escape(prompt)}</pre>" for prompt in one.prompts)
    return (
        f'<dt>{escape(pipeline)} <span class="{_class(one.right)}">'
        f"{_class(one.right)}</span>{lost}</dt>"
        f"<dd>{escape(one.error or one.answer or '(empty)')}"
        f'<div class="small">{", ".join(measured)}; {spent}</div>'
        f"<details><summary>sources ({len(one.sources)})</summary>{sources}</details>"
        f"<details><summary>prompts ({len(one.prompts)})</summary>{prompts}</details></dd>"
    )
