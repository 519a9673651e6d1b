"""What drawings say of nodes, and how they show what is inside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rag.flow.node import Construct, Node
from rag.flow.operator import PLACEMENT, Operator


@dataclass(frozen=True)
class Shape:
    """How a construct is drawn.

    Args:
        kind: `rows`: its branches side by side; `frame`: its body in a frame.
        title: The frame's title, or the box above the branches; "": none.
        first: The child above the branches (what chooses), by its edge.
        last: The child below them (the join), by its edge.
    """

    kind: Literal["rows", "frame"]
    title: str = ""
    first: str | None = None
    last: str | None = None


def shape(node: Construct) -> Shape:
    """How a construct is drawn; one that is not known here is a frame with its name."""
    value: Any = node
    match node.yaml_key:
        case "parallel":
            return Shape("rows", value.select or "", last=".join" if value.join else None)
        case "race":
            return Shape("rows", f"first that satisfies {value.until}" if value.until else "first")
        case "route":
            by_node = isinstance(value.by, Node)
            return Shape("rows", "" if by_node else value.by, ".by" if by_node else None)
        case "map":
            title = f"for each {value.as_} in {value.over}"
            return Shape("frame", title, last=".join" if value.join else None)
        case "loop":
            until = f" until {value.until}" if value.until else ""
            return Shape("frame", f"at most {value.max_turns} turns{until}")
        case "recurse":
            return Shape("rows", f"the whole flow again, at most {value.max_depth} deep")
    return Shape("frame", node.label)


_EDGES = {
    ".base": "deepest",
    ".between": "else",
    ".default": "default",
    ".fallback": "if it fails",
}


def edge_title(edge: str) -> str:
    """What is written at the arrow to a child."""
    return _EDGES.get(edge, edge)


def title(node: Node) -> str:
    """A step's name and the configuration that is not the default."""
    if isinstance(node, Operator):
        hidden = (PLACEMENT - {"timeout", "concurrency"}) | {"fallback"}
        fields = node.model_dump(mode="json", exclude_defaults=True, exclude=set(hidden))
        shown = ", ".join(f"{name}={v}" for name, v in fields.items() if len(str(v)) <= 24)
        return f"{node.label} ({shown})" if shown else node.label
    message = getattr(node, "message", "")
    return f"{node.label}: {message}" if message else node.label


def noted(text: str, place: str, notes: Mapping[str, str]) -> str:
    """A step's text with its note on a second line."""
    return f"{text}\n{notes[place]}" if place in notes else text


def policies(node: Any) -> str:
    """The policies of a guard, in short."""
    shown = [f"timeout {node.timeout:g} s" if node.timeout else ""]
    shown += [f"{node.retry.times} retries" if node.retry else ""]
    shown += ["cached" if node.cache else "", "limited" if node.concurrency else ""]
    shown += ["budget" if node.budget else ""]
    return ", ".join(filter(None, shown))
