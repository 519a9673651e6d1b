"""`SubFlow`: another flow as a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rag.flow.constructs.checks import renames
from rag.flow.node import Construct, Node, part


@dataclass(frozen=True)
class SubFlow(Construct):
    """A flow as a step of another: it sees its inputs only, and gives its outputs only.

    Args:
        flow: The inner flow.
        inputs: The inner flow's input to the outer channel that feeds it.
        outputs: The inner flow's output to the outer channel that gets it.
        name: The step's own name in places.
    """

    yaml_key = "flow"
    flow: Any
    inputs: Mapping[str, str] = part(default={})
    outputs: Mapping[str, str] = part(default={})
    name: str | None = part(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", renames("inputs", self.inputs))
        object.__setattr__(self, "outputs", renames("outputs", self.outputs))

    @property
    def label(self) -> str:
        """The step's own name, or the inner flow's."""
        return self.name or self.flow.name or "flow"

    def children(self) -> dict[str, Node]:
        """The inner flow's node."""
        return {"": self.flow.node}

    def with_children(self, children: Mapping[str, Node]) -> SubFlow:
        """The inner flow with another node; it is checked again."""
        return replace(self, flow=self.flow.with_node(children[""])) if children else self
