"""`Route`: exactly one of several branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rag.errors import ConfigError
from rag.flow.constructs.checks import expression_text, optional_node
from rag.flow.node import Construct, Node, as_node, part


@dataclass(frozen=True)
class Route(Construct):
    """Exactly one of several branches runs.

    Afterwards a channel that every case writes is there; one that only some write is optional:
    a parameter with a default may read it.

    Args:
        by: An expression over channels (a channel's name is the simplest), or a node that
            writes one channel; its value names the case.
        cases: Value to branch; truth values, numbers and members of enums are named as text:
            `true`, `3`, the member's value.
        default: The branch for every other value; needed unless the type of `by` has no other.
        name: The node's own name in places.
    """

    yaml_key = "route"
    by: str | Node = part("choice", "inside", edge=".by")
    cases: Mapping[Any, Node] = part("nodes", "inside")
    default: Node | None = part("node", "inside", edge=".default", default=None)
    name: str | None = part(default=None, schema={"type": "string"})

    def __post_init__(self) -> None:
        if not isinstance(self.cases, Mapping) or not self.cases:
            raise ConfigError("a route has no cases", fix="name at least one: {value: step}")
        cases = {case_name(value): as_node(node) for value, node in self.cases.items()}
        object.__setattr__(self, "cases", cases)
        object.__setattr__(self, "default", optional_node(self.default))
        if isinstance(self.by, Node):
            object.__setattr__(self, "by", as_node(self.by))
        else:
            expression_text("by", self.by)


def case_name(value: Any) -> str:
    """How a route's value is written as a case: `True` is `true`, an enum's member its value."""
    if isinstance(value, Enum):
        value = value.value
    return str(value).lower() if isinstance(value, bool) else str(value)
