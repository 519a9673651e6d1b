"""A flow as an SVG picture, laid out here: structured flows need no graph solver.

A sequence is a column, parallel and route are rows of columns, map and loop are frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape

from rag.flow.description import Description
from rag.flow.draw.labels import edge_title, noted, policies, shape, title
from rag.flow.node import Construct, Node, Sequence, place_of, root_of
from rag.flow.place import Place

BOX_HEIGHT, LINE, GAP, PAD, LETTER = 34, 15, 26, 14, 7.3
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d2733;text-anchor:middle}"
    ".box{fill:#eef4fb;stroke:#4a7ab0}.end{fill:#e8f5ec;stroke:#4f9168}"
    ".frame{fill:none;stroke:#9aa7b5;stroke-dasharray:5 4}.small{font-size:11px;fill:#55626f}"
    ".arrow{stroke:#6b7885;fill:none;marker-end:url(#head)}"
)


@dataclass(frozen=True)
class Block:
    """A laid-out part: entered at the top middle, left at the bottom middle."""

    width: float
    height: float
    draw: Callable[[float, float], list[str]]
    """Takes the left and the top; gives SVG elements."""


def svg(flow: Description, notes: Mapping[str, str] | None = None) -> str:
    """The flow as a complete SVG document.

    A step's box has the step's place, as text, as `data-node`: the `node` of its events.

    Args:
        flow: What is drawn.
        notes: Place of a step, as text, to a line that is added to it: how long it took, say.
    """
    start = _box(", ".join(flow.inputs) or "start", "end")
    finish = _box(", ".join(flow.outputs) if flow.outputs else "end", "end")
    place = root_of(flow.node)
    whole = _column([start, _block(flow.node, place, notes or {}), finish])
    width, height = whole.width + 2 * PAD, whole.height + 2 * PAD
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#6b7885"/></marker>'
    )
    name = escape(flow.name or "flow", quote=True)
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{name}">',
            f"<style>{_STYLE}</style><defs>{head}</defs>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
            *whole.draw(PAD, PAD),
            "</svg>\n",
        ]
    )


Notes = Mapping[str, str]


def _block(node: Node, place: Place, notes: Notes) -> Block:
    children = node.children()
    if isinstance(node, Sequence):
        blocks = [_child(node, edge, place, notes) for edge in children]
        return _column(blocks) if blocks else _box("go on")
    if not isinstance(node, Construct) or not children:
        box = _box(noted(title(node), str(place), notes), node=str(place))
        return _with_fallback(node, box, place, notes)
    if node.shares_place:
        body, text = _child(node, "", place, notes), policies(node)
        return _with_fallback(node, _frame(body, text) if text else body, place, notes)
    how = shape(node)
    column: list[Block] = []
    if how.kind == "frame":
        parts = [_child(node, edge, place, notes) for edge in ("", ".between") if edge in children]
        column.append(_frame(parts[0] if len(parts) == 1 else _column(parts), how.title))
    else:
        rows = [e for e in children if e not in (how.first, how.last)]
        branches = [(edge_title(edge), _child(node, edge, place, notes)) for edge in rows]
        if how.first is not None:
            column.append(_child(node, how.first, place, notes))
        if how.title and node.yaml_key == "recurse":
            branches.insert(0, ("", _box(how.title)))
        elif how.title:
            column.append(_box(f"{how.title}?"))
        column.append(_row(branches))
    if how.last is not None:
        column.append(_child(node, how.last, place, notes))
    return column[0] if len(column) == 1 else _column(column)


def _child(node: Node, edge: str, place: Place, notes: Notes) -> Block:
    child = node.children()[edge]
    return _block(child, place_of(node, place, edge, child), notes)


def _with_fallback(node: Node, block: Block, place: Place, notes: Notes) -> Block:
    if ".fallback" not in node.children():
        return block
    return _row([("", block), ("if it fails", _child(node, ".fallback", place, notes))])


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{shown}>{escape(text)}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    bend = (y1 + y2) / 2
    curve = f"{x1:.1f} {bend:.1f} {x2:.1f} {bend:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="arrow" d="M{x1:.1f} {y1:.1f}C{curve}"/>'


def _rect(kind: str, left: float, top: float, width: float, height: float, node: str = "") -> str:
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    path = f' data-node="{escape(node, quote=True)}"' if node else ""
    return f'<rect class="{kind}"{path} {place} rx="8"/>'


def _box(text: str, kind: str = "box", node: str = "") -> Block:
    lines = text.split("\n")
    width = max(map(len, lines)) * LETTER + 2 * PAD
    height = BOX_HEIGHT + LINE * (len(lines) - 1)

    def draw(left: float, top: float) -> list[str]:
        middle, first = left + width / 2, top + BOX_HEIGHT / 2 + 4.5
        texts = [
            _text(middle, first + LINE * number, line, "small" if number else "")
            for number, line in enumerate(lines)
        ]
        return [_rect(kind, left, top, width, height, node), *texts]

    return Block(width, height, draw)


def _column(blocks: list[Block]) -> Block:
    width = max(block.width for block in blocks)
    height = sum(block.height for block in blocks) + GAP * (len(blocks) - 1)

    def draw(left: float, top: float) -> list[str]:
        middle, out = left + width / 2, []
        for number, block in enumerate(blocks):
            if number:
                out.append(_arrow(middle, top - GAP, middle, top - 1))
            out += block.draw(middle - block.width / 2, top)
            top += block.height + GAP
        return out

    return Block(width, height, draw)


def _row(branches: Iterable[tuple[str, Block]]) -> Block:
    named = list(branches)
    widths = [max(block.width, len(name) * LETTER) for name, block in named]
    width = sum(widths) + GAP * (len(named) - 1)
    tallest = max(block.height for _, block in named)
    height = tallest + 2 * GAP + 14

    def draw(left: float, top: float) -> list[str]:
        middle, out = left + width / 2, []
        for (name, block), room in zip(named, widths, strict=True):
            x, y = left + room / 2, top + GAP + 14
            out += [_arrow(middle, top, x, y - 15), _text(x, y - 3, name, "small")]
            out += block.draw(x - block.width / 2, y)
            out.append(_arrow(x, y + block.height, middle, top + height))
            left += room + GAP
        return out

    return Block(width, height, draw)


def _frame(body: Block, text: str) -> Block:
    width = max(body.width, len(text) * LETTER) + 2 * PAD
    height = body.height + 2 * PAD + 18

    def draw(left: float, top: float) -> list[str]:
        rect = _rect("frame", left, top, width, height)
        inner = body.draw(left + (width - body.width) / 2, top + PAD + 18)
        return [rect, _text(left + width / 2, top + 17, text, "small"), *inner]

    return Block(width, height, draw)
