"""`Parallel`: different branches at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rag.errors import ConfigError
from rag.flow.constructs.checks import (
    OnError,
    expression_text,
    nodes,
    one_of,
    optional_node,
    whole,
)
from rag.flow.node import Construct, Node, part


@dataclass(frozen=True, init=False, eq=True)
class Parallel(Construct):
    """Branches that run concurrently, each with its own view of the channels.

    With a join, only what the join returns leaves. Where a parameter of the join is a list (or a
    `dict`), a channel that branches write arrives as a list with one value per branch that
    wrote it, in the order of the branches (or as a mapping from the branch's name); any other
    parameter gets the channel as it was before the branches. An empty branch (`Sequence()`, `[]`
    in a pipeline file) gives the channels as they were, of those that the others write.

    Without a join the branches write different channels and all of them leave; those of a
    branch that may fail (`on_error="skip"`), be cancelled (`quorum`) or not run at all (`select`)
    are optional afterwards.

    Args:
        branches: Branch name to node; `**named` is the short way.
        join: What makes one of many.
        on_error: `fail`: a branch that fails ends the node and cancels its siblings; `skip`:
            the node goes on without it, unless all fail.
        select: An expression over channels (a channel's name is the simplest) that gives the
            names of the branches to run: any number of them. None: all run.
        quorum: Go on as soon as so many branches have ended well, and cancel the others.
        name: The node's own name in places.
    """

    yaml_key = "parallel"
    branches: dict[str, Node] = part("nodes", "head")
    join: Node | None = part("node", edge=".join", default=None)
    on_error: OnError = part(default="fail", schema={"enum": ["fail", "skip"]})
    select: str | None = part(default=None, schema={"type": "string"})
    quorum: int | None = part(default=None, schema={"type": "integer", "minimum": 1})
    name: str | None = part(default=None, schema={"type": "string"})

    def __init__(
        self,
        branches: Mapping[str, Node] | None = None,
        *,
        join: Node | None = None,
        on_error: OnError = "fail",
        select: str | None = None,
        quorum: int | None = None,
        name: str | None = None,
        **named: Node,
    ) -> None:
        all_branches = nodes("a parallel", {**(branches or {}), **named})
        one_of("on_error", on_error, OnError)
        if select is not None:
            expression_text("select", select)
        if quorum is not None:
            whole("quorum", quorum)
            if quorum > len(all_branches):
                what = f"quorum is {quorum}, there are {len(all_branches)} branches"
                raise ConfigError(what, fix="give at most as many")
        object.__setattr__(self, "branches", all_branches)
        object.__setattr__(self, "join", optional_node(join))
        object.__setattr__(self, "on_error", on_error)
        object.__setattr__(self, "select", select)
        object.__setattr__(self, "quorum", quorum)
        object.__setattr__(self, "name", name)
