"""Tables as text: rows in Markdown, or a paragraph for each record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from rag.index.readers.reader import document
from rag.text.structure import Structure

PART = 2_000_000
"""Characters of a part of a large table: it is held in memory and stored as one source."""


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table in Markdown, the first of them its head."""
    width = max(map(len, rows), default=0)
    lines = []
    for number, row in enumerate(rows):
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
        lines.append("| " + " | ".join(cells + [""] * (width - len(cells))) + " |")
        if number == 0:
            lines.append("| " + " | ".join(["---"] * width) + " |")
    return "\n".join(lines)


def record_documents(
    records: Iterable[tuple[int, str, Mapping[str, Any]]], **metadata: Any
) -> Iterator[Document]:
    """Records as text: a paragraph for each, a line `column: value` for each of its cells.

    Args:
        records: Number in the file, what it stands under ("": nothing), and cells by column.
        metadata: Of the documents.

    Returns:
        A document for every `PART` characters; all but the first have a `part`, named by their
        first row.
    """
    texts: list[str] = []
    rows: list[tuple[int, int]] = []
    headings: list[tuple[int, int, str]] = []
    length, parts, under = 0, 0, ""

    def made() -> Document:
        where = {"part": f"row={rows[0][1]}"} if parts else {}
        structure = Structure("none", tuple(headings), tuple(rows))
        return document("".join(texts)[:-2], structure=structure, **where, **metadata)

    for number, heading, cells in records:
        text = paragraph(cells)
        if not text:
            continue
        if length > PART:
            yield made()
            texts, rows, headings, length, under = [], [], [], 0, ""
            parts += 1
        if heading != under:
            headings.append((length, 1, heading))
            under = heading
        rows.append((length, number))
        texts.append(text + "\n\n")
        length += len(texts[-1])
    if rows:
        yield made()


def paragraph(cells: Mapping[str, Any]) -> str:
    """A line `column: value` for each cell that is not empty."""
    lines = ((key, _line(cell)) for key, cell in cells.items())
    return "\n".join(f"{key}: {value}" if key else value for key, value in lines if value)


def _line(cell: Any) -> str:
    """A cell's value on one line, so that blank lines stand between records only."""
    if cell is None:
        return ""
    if isinstance(cell, list) and all(isinstance(one, str) for one in cell):
        cell = ", ".join(cell)
    value = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
    return " ".join(value.split())


def header(cells: Sequence[Any]) -> list[str]:
    """Names of columns; equal ones are numbered, so that no value hides another."""
    names: list[str] = []
    taken: set[str] = set()
    times: Counter[str] = Counter()
    for cell in cells:
        name = unique = _line(cell)
        while unique and unique in taken:
            times[name] += 1
            unique = f"{name} ({times[name] + 1})"
        taken.add(unique)
        names.append(unique)
    return names


def row_of(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """Cells by column; those without a column in one, without a name."""
    named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
    spare = [_line(cell) for at, cell in enumerate(cells) if at >= len(names) or not names[at]]
    rest = ", ".join(filter(None, spare))
    return named | ({"": rest} if rest else {})
