"""The card of a trained model: what it was made from, and what it gained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag.files import write_atomically
from rag.train.gate import Verdict

FORCED = (
    "**It did not pass the gate** (`--force`): the interval of a gain below is not above zero, so "
    "it may be no better than its base."
)


def write_card(
    folder: Path,
    title: str,
    base: str,
    use: str,
    settings: Mapping[str, Any],
    data: Mapping[str, Mapping[str, int]],
    verdicts: Sequence[Verdict],
    *,
    licence: str,
    passed: bool,
) -> None:
    """Write `README.md` for people and `training.json` for programs.

    Args:
        folder: The model's.
        title: What it is, in a line.
        base: The model that it was trained from.
        use: How a pipeline names it.
        settings: All that the training depends on, seeds among them.
        data: Origin of examples to how many there were, by kind.
        verdicts: What was measured, before and after.
        licence: Of the data; empty: it was not said.
        passed: Whether the gate let it pass.
    """
    rows = [one.row() for one in verdicts]
    facts = {
        "base": base, "settings": settings, "data": data, "results": rows,
        "licence of the data": licence, "passed the gate": passed,
    }  # fmt: skip
    write_atomically(folder / "training.json", json.dumps(facts, indent=1) + "\n")
    lines = ["---", f"base_model: {json.dumps(base)}", "---", "", f"# {title}", ""]
    lines += [] if passed else [FORCED, ""]
    lines += [use, "", "## Data", ""]
    kinds = sorted({kind for of in data.values() for kind in of})
    lines += _table(
        ["origin", *kinds], [[n, *(of.get(k, 0) for k in kinds)] for n, of in data.items()]
    )
    lines += ["", f"Licence of the data: {licence or 'not stated'}.", "", "## Figures", ""]
    lines.append(
        "On questions that it was not trained on; gain with its 95 % interval by the paired "
        "bootstrap. Those that gate had to be above zero."
    )
    lines += ["", *_table(list(rows[0]), [list(row.values()) for row in rows])] if rows else []
    lines += ["", "## Settings", "", "```json", json.dumps(settings, indent=1), "```", ""]
    write_atomically(folder / "README.md", "\n".join(lines))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    head = f"| {' | '.join(columns)} |"
    rule = f"|{'---|' * len(columns)}"
    return [head, rule, *(f"| {' | '.join(map(str, row))} |" for row in rows)]
