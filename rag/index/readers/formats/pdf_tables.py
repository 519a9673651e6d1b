"""The text of a page of a PDF, tables between ruled lines as tables.

PDFium has text and lines; how lines make cells, and cells tables, is pdfplumber's method, which
follows Nurminen (2013, "Algorithmic extraction of data in tables in PDF documents").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

from rag.index.readers.tables import markdown_table

LINES = 4000
"""Lines and boxes of a page that are looked at: more are a drawing."""
THIN = 2.0
"""Points: what is thinner is a line."""
NARROW = 9.0
"""Points: a column that is narrower is the padding of a frame."""

FILLED = 0.6
"""Share of cells with text; where there are less, the lines are a frame of something else."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, from the top of the page."""


def page_text(page: Any) -> str:
    """The text of a page in its order, each table in the place of its first character.

    Args:
        page: Of pypdfium2.
    """
    held = page.get_textpage()
    try:
        whole: str = held.get_text_range()
        tables = list(_tables(page, held)) if whole.strip() else []
        return _replaced(page, held, tables) if tables else whole
    finally:
        held.close()


def _tables(page: Any, held: Any) -> Iterator[tuple[Box, str]]:
    from pdfplumber import table as geometry

    edges = list(_edges(page))
    edges += _closed(edges)
    if not all(_spread(edges, one, key) for one, key in (("v", "x0"), ("h", "top"))):
        return
    merged = geometry.merge_edges(edges, 3, 3, 3, 3)
    cells = geometry.intersections_to_cells(geometry.edges_to_intersections(merged, 3, 3))
    height = page.get_height()
    for group in geometry.cells_to_tables(cells):
        wide = [cell for cell in group if cell[2] - cell[0] >= NARROW]
        if not wide:
            continue
        found = geometry.Table(cast(Any, None), wide)
        rows = [
            [_cell(held, cell, height) if cell else "" for cell in row.cells] for row in found.rows
        ]
        rows = [row for row in rows if any(row)]
        filled = [
            at for at in range(max(map(len, rows), default=0)) if any(row[at] for row in rows)
        ]
        cells_filled = sum(bool(row[at]) for row in rows for at in filled)
        enough = cells_filled >= FILLED * len(rows) * len(filled)
        if len(rows) > 1 and len(filled) > 1 and enough:
            yield found.bbox, markdown_table([[row[at] for at in filled] for row in rows])


def _closed(edges: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The sides of tables that are ruled within only: between the ends of their rules."""
    rules = [edge for edge in edges if edge["orientation"] == "h"]
    for side in ("x0", "x1"):
        ends: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for rule in rules:
            ends[round(rule[side])].append(rule)
        for group in ends.values():
            heights = [rule["top"] for rule in group]
            if len(group) >= 3:
                yield _edge(group[0][side], min(heights), group[0][side], max(heights))


def _spread(edges: list[dict[str, Any]], orientation: str, key: str) -> bool:
    """Whether there are lines for two columns or rows; a frame around code has them for one."""
    places = sorted(edge[key] for edge in edges if edge["orientation"] == orientation)
    apart, last = 0, float("-inf")
    for place in places:
        if place - last >= NARROW:
            apart, last = apart + 1, place
    return apart >= 3


def _cell(held: Any, cell: Box, height: float) -> str:
    text: str = held.get_text_bounded(cell[0], height - cell[3], cell[2], height - cell[1])
    return text.strip()


def _edges(page: Any) -> Iterator[dict[str, Any]]:
    """The page's lines and the sides of its boxes, as pdfplumber describes them."""
    import pypdfium2.raw as pdfium

    height = page.get_height()
    paths = page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_PATH], max_depth=1)
    for number, path in enumerate(paths):
        if number > LINES:
            return
        left, low, right, high = path.get_bounds()
        top, bottom = height - high, height - low
        if bottom - top < THIN:
            if right - left >= THIN:
                yield _edge(left, (top + bottom) / 2, right, (top + bottom) / 2)
        elif right - left < THIN:
            yield _edge((left + right) / 2, top, (left + right) / 2, bottom)
        elif pdfium.FPDFPath_CountSegments(path) > 5:
            yield from _segments(path, height)
        else:
            yield _edge(left, top, right, top)
            yield _edge(left, bottom, right, bottom)
            yield _edge(left, top, left, bottom)
            yield _edge(right, top, right, bottom)


def _segments(path: Any, height: float) -> Iterator[dict[str, Any]]:
    """The lines of a path that run along the page's sides: all rules of a grid may be one path."""
    import ctypes

    import pypdfium2.raw as pdfium

    matrix = path.get_matrix()
    count = pdfium.FPDFPath_CountSegments(path)
    if count > LINES:
        return
    before: tuple[float, float] | None = None
    for at in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(path, at)
        across, up = ctypes.c_float(), ctypes.c_float()
        pdfium.FPDFPathSegment_GetPoint(segment, across, up)
        point = matrix.on_point(across.value, up.value)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_LINETO and before is not None:
            (left, right), (low, high) = (
                sorted((before[0], point[0])),
                sorted((before[1], point[1])),
            )
            if min(right - left, high - low) < THIN:
                yield _edge(left, height - high, right, height - low)
        before = point


def _edge(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    return {
        "x0": left, "top": top, "x1": right, "bottom": bottom, "width": right - left,
        "height": bottom - top, "orientation": "h" if right - left > bottom - top else "v",
        "object_type": "line",
    }  # fmt: skip


def _replaced(page: Any, held: Any, tables: list[tuple[Box, str]]) -> str:
    """The text, with what stands in tables replaced by them."""
    height = page.get_height()
    out: list[str] = []
    start, shown = 0, set()
    inside = None
    count = held.count_chars()
    for at in range(count):
        left, low, right, high = held.get_charbox(at)
        across, down = (left + right) / 2, height - (low + high) / 2
        blank = right <= left  # line ends and spaces that PDFium adds have no place
        now = inside if blank else _table_at(tables, across, down)
        if now == inside:
            continue
        if inside is None and at > start:
            out.append(held.get_text_range(start, at - start))
        if now is not None and now not in shown:
            shown.add(now)
            out.append(f"\n\n{tables[now][1]}\n\n")
        inside, start = now, at
    if inside is None and count > start:
        out.append(held.get_text_range(start, count - start))
    return "".join(out)


def _table_at(tables: list[tuple[Box, str]], across: float, down: float) -> int | None:
    for number, ((left, top, right, bottom), _) in enumerate(tables):
        if left <= across <= right and top <= down <= bottom:
            return number
    return None
