"""A flow as Mermaid text, to be drawn by any Markdown viewer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from rag.flow.description import Description
from rag.flow.draw.labels import Shape, edge_title, noted, policies, shape, title
from rag.flow.node import Construct, Node, Sequence, place_of, root_of
from rag.flow.place import Place


def mermaid(flow: Description, notes: Mapping[str, str] | None = None) -> str:
    """The flow as a Mermaid flowchart, top down.

    Args:
        flow: What is drawn.
        notes: Place of a step, as text, to a line that is added to it: how long it took, say.
    """
    drawing = _Drawing(notes or {})
    start = drawing.box(", ".join(flow.inputs) or "start", "([", "])")
    end = drawing.node(flow.node, [(start, "")], root_of(flow.node))
    outputs = ", ".join(flow.outputs) if flow.outputs else "end"
    finish = drawing.box(outputs, "([", "])")
    drawing.link(end, finish)
    return "\n".join(["flowchart TD", *(f"  {line}" for line in drawing.lines)]) + "\n"


Ends = list[tuple[str, str]]
"""Boxes that the next one hangs on, each with the label of its arrow."""


class _Drawing:
    def __init__(self, notes: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._notes = notes
        self._ids = (f"n{number}" for number in count())

    def box(self, text: str, left: str = "[", right: str = "]") -> str:
        name = next(self._ids)
        quoted = text.replace('"', "#quot;").replace("\n", "<br/>")
        self.lines.append(f'{name}{left}"{quoted}"{right}')
        return name

    def link(self, ends: Ends, target: str) -> None:
        for source, label in ends:
            arrow = f'-->|"{label}"|' if label else "-->"
            self.lines.append(f"{source} {arrow} {target}")

    def node(self, node: Node, before: Ends, place: Place) -> Ends:
        """Draw the node behind `before`; returns what the next hangs on."""
        children = node.children()
        if isinstance(node, Sequence):
            for edge, child in children.items():
                before = self.node(child, before, place_of(node, place, edge, child))
            return before
        if not isinstance(node, Construct) or not children:
            box = self.box(noted(title(node), str(place), self._notes))
            self.link(before, box)
            return self._fallback(node, [(box, "")], box, place)
        if node.shares_place:
            return self._guard(node, before, place)
        how = shape(node)
        if how.kind == "frame":
            ends = self._frame(node, "", before, how.title, place)
            return self._last(node, how, ends, place)
        return self._rows(node, how, before, place)

    def _child(self, node: Node, edge: str, before: Ends, place: Place) -> Ends:
        child = node.children()[edge]
        return self.node(child, before, place_of(node, place, edge, child))

    def _frame(self, node: Node, edge: str, before: Ends, text: str, place: Place) -> Ends:
        frame = next(self._ids)
        quoted = text.replace('"', "#quot;")
        self.lines.append(f'subgraph {frame}["{quoted}"]')
        ends = self._child(node, edge, before, place)
        if ".between" in node.children():
            labelled = [(source, edge_title(".between")) for source, _ in ends]
            self._child(node, ".between", labelled, place)
        self.lines.append("end")
        return ends

    def _rows(self, node: Construct, how: Shape, before: Ends, place: Place) -> Ends:
        if how.first is not None:
            before = self._child(node, how.first, before, place)
        ends: Ends = []
        if how.title and node.yaml_key == "recurse":
            again = self.box(how.title, "[[", "]]")
            self.link(before, again)
            ends.append((again, ""))
        elif how.title:
            choice = self.box(how.title, "{", "}")
            self.link(before, choice)
            before = [(choice, "")]
        for edge in node.children():
            if edge not in (how.first, how.last):
                labelled = [(source, edge_title(edge)) for source, _ in before]
                ends += self._child(node, edge, labelled, place)
        return self._last(node, how, ends, place)

    def _last(self, node: Node, how: Shape, ends: Ends, place: Place) -> Ends:
        return ends if how.last is None else self._child(node, how.last, ends, place)

    def _guard(self, node: Any, before: Ends, place: Place) -> Ends:
        text = policies(node)
        if text:
            ends = self._frame(node, "", before, text, place)
        else:
            ends = self._child(node, "", before, place)
        return self._fallback(node, ends, ends[0][0] if ends else "", place)

    def _fallback(self, node: Node, ends: Ends, source: str, place: Place) -> Ends:
        if ".fallback" not in node.children() or not source:
            return ends
        return [*ends, *self._child(node, ".fallback", [(source, "if it fails")], place)]
