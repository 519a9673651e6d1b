"""A flow as Mermaid text, to be drawn by any Markdown viewer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from rag.flow.constructs import (
    Interrupt,
    Loop,
    Map,
    Parallel,
    Recurse,
    Route,
    Sequence,
    SubFlow,
)
from rag.flow.flow import Flow
from rag.flow.node import Node
from rag.flow.operator import Operator


def mermaid(flow: Flow, notes: Mapping[str, str] | None = None) -> str:
    """The flow as a Mermaid flowchart, top down.

    Args:
        flow: What is drawn.
        notes: Path of a step to a line that is added to it: how long it took, say.
    """
    drawing = _Drawing(notes or {})
    start = drawing.box(", ".join(flow.inputs) or "start", "([", "])")
    end = drawing.node(flow.node, [(start, "")], "steps")
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

    def node(self, node: Node, before: Ends, path: str) -> Ends:
        """Draw the node behind `before`; returns what the next hangs on."""
        match node:
            case Operator() | Interrupt():
                name = self.box(noted(title(node), f"{path}.{label(node)}", self._notes))
                self.link(before, name)
                return [(name, "")]
            case Sequence(nodes=nodes):
                for number, child in enumerate(nodes):
                    before = self.node(child, before, f"{path}[{number}]")
                return before
        here = f"{path}.{label(node)}"
        match node:
            case Parallel():
                ends = [
                    end
                    for name, branch in node.branches.items()
                    for end in self.node(branch, _labelled(before, name), f"{here}.{name}")
                ]
                return self._joined(node, ends, here)
            case Map():
                text = f"for each {node.as_} in {node.over}"
                return self._joined(node, self._framed(node.body, before, text, here), here)
            case Route():
                return self._route(node, before, here)
            case Loop():
                return self._framed(node.body, before, turns(node), here)
            case Recurse():
                name = self.box(f"the whole flow again, at most {node.max_depth} deep", "[[", "]]")
                self.link(before, name)
                base = self.node(node.base, _labelled(before, "deepest"), f"{here}.base")
                return [(name, ""), *base]
            case SubFlow():
                return self._framed(node.flow.node, before, label(node), f"{here}/steps")
        raise TypeError(f"{type(node).__name__} is no construct")

    def _joined(self, node: Parallel | Map, ends: Ends, here: str) -> Ends:
        return self.node(node.join, ends, f"{here}.join") if node.join else ends

    def _framed(self, body: Node, before: Ends, text: str, here: str) -> Ends:
        frame = next(self._ids)
        quoted = text.replace('"', "#quot;")
        self.lines.append(f'subgraph {frame}["{quoted}"]')
        ends = self.node(body, before, here if here.endswith("/steps") else f"{here}.body")
        self.lines.append("end")
        return ends

    def _route(self, node: Route, before: Ends, here: str) -> Ends:
        if isinstance(node.by, str):
            choice = self.box(node.by, "{", "}")
            self.link(before, choice)
            before = [(choice, "")]
        else:
            before = self.node(node.by, before, f"{here}.by")
        cases = dict(node.cases)
        if node.default is not None:
            cases["default"] = node.default
        return [
            end
            for name, case in cases.items()
            for end in self.node(case, _labelled(before, name), f"{here}.{name}")
        ]


def _labelled(ends: Ends, label: str) -> Ends:
    return [(source, label) for source, _ in ends]


def label(node: Node) -> str:
    """The name of a node in paths."""
    match node:
        case Operator():
            return node.label
        case SubFlow():
            return node.name or node.flow.name or "flow"
    return getattr(node, "name", None) or type(node).__name__.lower()


def title(node: Operator | Interrupt) -> str:
    """The step's name and the configuration that is not the default."""
    if isinstance(node, Interrupt):
        return f"{label(node)}: {node.message}"
    fields = node.model_dump(
        mode="json", exclude_defaults=True, exclude={"name", "inputs", "outputs"}
    )
    shown = ", ".join(f"{name}={value}" for name, value in fields.items() if len(str(value)) <= 24)
    return f"{node.label} ({shown})" if shown else node.label


def turns(node: Loop) -> str:
    """How a loop ends."""
    until = f" until {node.until}" if node.until else ""
    return f"at most {node.max_turns} turns{until}"


def noted(text: str, path: str, notes: Mapping[str, str]) -> str:
    """A step's text with its note on a second line."""
    return f"{text}\n{notes[path]}" if path in notes else text
