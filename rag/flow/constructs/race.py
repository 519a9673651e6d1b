"""`Race`: several ways at the same time, the first good result counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rag.flow.constructs.checks import expression_text, nodes
from rag.flow.node import Construct, Node, part

_TEXT = {"type": "string"}


@dataclass(frozen=True, init=False, eq=True)
class Race(Construct):
    """Branches run concurrently; the first that ends well and satisfies the condition wins.

    The others are cancelled. What the winner wrote leaves, as after a `Route`. If no branch
    satisfies the condition, the node fails.

    Args:
        branches: Branch name to node; `**named` is the short way.
        until: An expression over the channels at a branch's end; None: any end is good.
        winner: A channel that gets the winner's name.
        name: The node's own name in places.
    """

    yaml_key = "race"
    branches: dict[str, Node] = part("nodes", "head")
    until: str | None = part(default=None, schema=_TEXT)
    winner: str | None = part(default=None, schema=_TEXT)
    name: str | None = part(default=None, schema=_TEXT)

    def __init__(
        self,
        branches: Mapping[str, Node] | None = None,
        *,
        until: str | None = None,
        winner: str | None = None,
        name: str | None = None,
        **named: Node,
    ) -> None:
        if until is not None:
            expression_text("until", until)
        object.__setattr__(self, "branches", nodes("a race", {**(branches or {}), **named}))
        object.__setattr__(self, "until", until)
        object.__setattr__(self, "winner", winner)
        object.__setattr__(self, "name", name)
