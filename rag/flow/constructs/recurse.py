"""`Recurse`: the same flow again, on a smaller problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rag.flow.constructs.checks import renames, whole
from rag.flow.node import Construct, Node, as_node, part

_RENAMES = {"type": "object", "additionalProperties": {"type": "string"}}


@dataclass(frozen=True)
class Recurse(Construct):
    """The flow that this node is a part of, once more, as in Tree of Clarifications.

    The inner run has a state of its own: it sees the flow's inputs only, and gives the flow's
    outputs, which the flow must name.

    Args:
        base: What runs instead where the flow is nested in itself `max_depth` times; it writes
            the flow's outputs.
        max_depth: At most so often is the flow nested in itself; at least 1.
        inputs: The flow's input to the channel that feeds it.
        outputs: The flow's output to the channel that gets it.
        name: The node's own name in places.
    """

    yaml_key = "recurse"
    base: Node = part("node", edge=".base")
    max_depth: int = part(where="inside", schema={"type": "integer", "minimum": 1})
    inputs: Mapping[str, str] = part(default={}, schema=_RENAMES)
    outputs: Mapping[str, str] = part(default={}, schema=_RENAMES)
    name: str | None = part(default=None, schema={"type": "string"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", as_node(self.base))
        object.__setattr__(self, "inputs", renames("inputs", self.inputs))
        object.__setattr__(self, "outputs", renames("outputs", self.outputs))
        whole("max_depth", self.max_depth)
