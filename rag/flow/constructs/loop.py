"""`Loop`: a body until a condition holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.flow.constructs.checks import expression_text, one_of, optional_node, texts, whole
from rag.flow.node import Construct, Node, as_node, part

OnMaxTurns = Literal["continue", "fail"]
"""What happens when the turns are used up and the condition does not hold."""

_TEXT = {"type": "string"}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}


@dataclass(frozen=True)
class Loop(Construct):
    """The body again and again, until a condition holds or the turns are used up.

    Args:
        body: What a turn runs.
        max_turns: At most so many turns; at least 1.
        until: An expression over channels, `turn` (from 1) and `events` (the turn's events, as
            mappings: `any(e["event"] == "warned" for e in events)`), evaluated after each turn.
        between: What runs between two turns: after one whose condition does not hold, before the
            next. So a loop can be left in its middle, as an agent's is: the model answers, or
            else its tools are called and it is asked again.
        carry: The channels that the next turn starts with, of those that the body and `between`
            write; the others start each turn as they were before the loop. None: all are carried.
        keep: A channel with a number; what leaves the loop is what the turn with its largest
            value wrote (the first of equal ones), instead of the last turn's.
        history: A channel that gets what each turn so far wrote, as a list of mappings; the body
            and the condition may read it.
        satisfied: A channel that tells whether the condition held in the end.
        on_max_turns: `continue`, or `fail` where the condition does not hold after `max_turns`.
        name: The node's own name in places.
    """

    yaml_key = "loop"
    body: Node = part("node")
    max_turns: int = part(where="inside", schema={"type": "integer", "minimum": 1})
    until: str | None = part(where="inside", default=None, schema=_TEXT)
    between: Node | None = part("node", edge=".between", default=None)
    carry: tuple[str, ...] | None = part("texts", "inside", default=None, schema=_TEXTS)
    keep: str | None = part(where="inside", default=None, schema=_TEXT)
    history: str | None = part(where="inside", default=None, schema=_TEXT)
    satisfied: str | None = part(where="inside", default=None, schema=_TEXT)
    on_max_turns: OnMaxTurns = part(
        where="inside", default="continue", schema={"enum": ["continue", "fail"]}
    )
    name: str | None = part(default=None, schema=_TEXT)

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_node(self.body))
        object.__setattr__(self, "between", optional_node(self.between))
        if self.carry is not None:
            object.__setattr__(self, "carry", texts("carry", self.carry))
        if self.until is not None:
            expression_text("until", self.until)
        whole("max_turns", self.max_turns)
        one_of("on_max_turns", self.on_max_turns, OnMaxTurns)
