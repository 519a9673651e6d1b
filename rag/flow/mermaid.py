"""A flow as Mermaid text, to be drawn by any Markdown viewer."""

from __future__ import annotations

from itertools import count

from rag.flow.constructs import Loop, Map, Parallel, Route, Sequence, SubFlow
from rag.flow.flow import Flow
from rag.flow.node import Node
from rag.flow.operator import Operator


def mermaid(flow: Flow) -> str:
    """The flow as a Mermaid flowchart, top down."""
    drawing = _Drawing()
    start = drawing.box(", ".join(flow.inputs) or "start", "([", "])")
    end = drawing.node(flow.node, [(start, "")])
    outputs = ", ".join(flow.outputs) if flow.outputs else "end"
    finish = drawing.box(outputs, "([", "])")
    drawing.link(end, finish)
    return "\n".join(["flowchart TD", *(f"  {line}" for line in drawing.lines)]) + "\n"


Ends = list[tuple[str, str]]
"""Boxes that the next one hangs on, each with the label of its arrow."""


class _Drawing:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ids = (f"n{number}" for number in count())

    def box(self, text: str, left: str = "[", right: str = "]") -> str:
        name = next(self._ids)
        quoted = text.replace('"', "#quot;")
        self.lines.append(f'{name}{left}"{quoted}"{right}')
        return name

    def link(self, ends: Ends, target: str) -> None:
        for source, label in ends:
            arrow = f'-->|"{label}"|' if label else "-->"
            self.lines.append(f"{source} {arrow} {target}")

    def node(self, node: Node, before: Ends) -> Ends:
        """Draw the node behind `before`; returns what the next hangs on."""
        match node:
            case Operator():
                name = self.box(title(node))
                self.link(before, name)
                return [(name, "")]
            case Sequence(nodes=nodes):
                for child in nodes:
                    before = self.node(child, before)
                return before
            case Parallel():
                ends = [
                    e for n, b in node.branches.items() for e in self.node(b, _labelled(before, n))
                ]
                return self.node(node.join, ends) if node.join else ends
            case Map():
                ends = self._framed(node.body, before, f"for each {node.as_} in {node.over}")
                return self.node(node.join, ends) if node.join else ends
            case Route():
                return self._route(node, before)
            case Loop():
                until = f" until {node.until}" if node.until else ""
                return self._framed(node.body, before, f"at most {node.max_turns} turns{until}")
            case SubFlow():
                return self._framed(node.flow.node, before, node.name or node.flow.name or "flow")
        raise TypeError(f"{type(node).__name__} is no construct")

    def _framed(self, body: Node, before: Ends, text: str) -> Ends:
        frame = next(self._ids)
        quoted = text.replace('"', "#quot;")
        self.lines.append(f'subgraph {frame}["{quoted}"]')
        ends = self.node(body, before)
        self.lines.append("end")
        return ends

    def _route(self, node: Route, before: Ends) -> Ends:
        if isinstance(node.by, str):
            choice = self.box(node.by, "{", "}")
            self.link(before, choice)
            before = [(choice, "")]
        else:
            before = self.node(node.by, before)
        cases = dict(node.cases)
        if node.default is not None:
            cases["default"] = node.default
        return [
            end for name, case in cases.items() for end in self.node(case, _labelled(before, name))
        ]


def _labelled(ends: Ends, label: str) -> Ends:
    return [(source, label) for source, _ in ends]


def title(node: Operator) -> str:
    """The step's name and the configuration that is not the default."""
    fields = node.model_dump(
        mode="json", exclude_defaults=True, exclude={"name", "inputs", "outputs"}
    )
    shown = ", ".join(f"{name}={value}" for name, value in fields.items() if len(str(value)) <= 24)
    return f"{node.label} ({shown})" if shown else node.label
