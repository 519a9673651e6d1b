"""`Map`: the same body for every item of a list, at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from rag.flow.constructs.checks import OnError, one_of, optional_node, whole
from rag.flow.node import Construct, Node, as_node, part

_COUNT = {"type": "integer", "minimum": 1}


@dataclass(frozen=True)
class Map(Construct):
    """The body once per item of a list, concurrently, each with its own view of the channels.

    The join sees lists with one value per item, as in `Parallel`. Without a join every channel
    that the body writes leaves as such a list.

    Args:
        over: The channel that holds the list.
        as_: The channel that holds the item inside the body.
        body: What runs for each item.
        join: What makes one of many.
        concurrency: At most so many items at a time; None: all.
        on_error: As for `Parallel`.
        name: The node's own name in places.
    """

    yaml_key = "map"
    over: str = part(where="inside", schema={"type": "string"})
    as_: str = part(where="inside", key="as", schema={"type": "string"})
    body: Node = part("node")
    join: Node | None = part("node", edge=".join", default=None)
    concurrency: int | None = part(where="inside", default=None, schema=_COUNT)
    on_error: OnError = part(default="fail", schema={"enum": ["fail", "skip"]})
    name: str | None = part(default=None, schema={"type": "string"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_node(self.body))
        object.__setattr__(self, "join", optional_node(self.join))
        one_of("on_error", self.on_error, OnError)
        if self.concurrency is not None:
            whole("concurrency", self.concurrency)
