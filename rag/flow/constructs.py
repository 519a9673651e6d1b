"""The constructs that flows are made of, besides steps: the patterns of Modular RAG (section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from rag.errors import ConfigError
from rag.flow.node import Node

if TYPE_CHECKING:
    from rag.flow.operator import Operator


OnError = Literal["fail", "skip"]
"""What a branch that fails does to its siblings and its join."""


@dataclass(frozen=True, init=False, eq=True)
class Sequence(Node):
    """One node after another; what one writes, the next reads. `a >> b` makes one."""

    nodes: tuple[Node, ...]

    def __init__(self, *nodes: Node) -> None:
        flat: list[Node] = []
        for node in nodes:
            if not isinstance(node, Node):
                raise ConfigError(
                    f"{node!r} is not a step",
                    fix="an operator's class is made a step by calling it: Rerank()",
                )
            flat.extend(node.nodes if isinstance(node, Sequence) else (node,))
        object.__setattr__(self, "nodes", tuple(flat))


def as_node(node: Node) -> Node:
    """A sequence of one is that one, so that equal flows compare equal."""
    if isinstance(node, Sequence) and len(node.nodes) == 1:
        return node.nodes[0]
    if not isinstance(node, Node):
        return Sequence(node)  # raises, saying what a step is
    return node


def _known(on_error: str) -> str:
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error is {on_error!r}", fix="write fail or skip")
    return on_error


@dataclass(frozen=True, init=False, eq=True)
class Parallel(Node):
    """Branches that run at once, each with its own view of the channels.

    Only what the join returns leaves. In the join a channel that every branch writes is a list
    with one value per branch in their order, or, where the join's parameter is a `dict`, a
    mapping from the branch's name. Without a join the branches write different channels and
    all of them leave.

    Args:
        join: The operator that makes one of many.
        on_error: `fail`: a branch that fails ends the run and its siblings; `skip`: the join
            goes on without it, unless all fail.
        name: The node's own name in paths.
        branches: Branch name to node; `**named` is the short way.
    """

    branches: dict[str, Node]
    join: Operator | None
    on_error: OnError
    name: str | None

    def __init__(
        self,
        branches: Mapping[str, Node] | None = None,
        *,
        join: Operator | None = None,
        on_error: OnError = "fail",
        name: str | None = None,
        **named: Node,
    ) -> None:
        all_branches = {**(branches or {}), **named}
        if not all_branches:
            raise ConfigError(
                "a parallel has no branches", fix="name at least one: Parallel(a=...)"
            )
        object.__setattr__(self, "branches", {k: as_node(v) for k, v in all_branches.items()})
        object.__setattr__(self, "join", join)
        object.__setattr__(self, "on_error", _known(on_error))
        object.__setattr__(self, "name", name)


@dataclass(frozen=True)
class Map(Node):
    """The same body once per item of a list, at once, each with its own view of the channels.

    The join sees lists with one value per item, as in `Parallel`. Without a join every channel
    that the body writes leaves as such a list.

    Args:
        over: The channel that holds the list.
        as_: The channel that holds the item inside the body.
        body: What runs for each item.
        join: The operator that makes one of many.
        concurrency: At most so many items at a time; None: all.
        on_error: As for `Parallel`.
        name: The node's own name in paths.
    """

    over: str
    as_: str
    body: Node
    join: Operator | None = None
    concurrency: int | None = None
    on_error: OnError = "fail"
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_node(self.body))
        _known(self.on_error)
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigError(f"concurrency is {self.concurrency}", fix="give 1 or more")


@dataclass(frozen=True)
class Route(Node):
    """Exactly one of several branches runs.

    Afterwards a channel exists only if every case writes it, or it existed before.

    Args:
        by: An expression over channels (a channel's name is the simplest), or a node that
            writes one channel; its value names the case.
        cases: Value to branch; truth values and numbers are named as text: `true`, `3`.
        default: The branch for every other value; needed unless the type of `by` has no other.
        name: The node's own name in paths.
    """

    by: str | Node
    cases: Mapping[Any, Node]
    default: Node | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            raise ConfigError("a route has no cases", fix="name at least one")
        cases = {case_name(value): as_node(node) for value, node in self.cases.items()}
        object.__setattr__(self, "cases", cases)
        if self.default is not None:
            object.__setattr__(self, "default", as_node(self.default))


def case_name(value: Any) -> str:
    """How a route's value is written as a case: `True` is `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Loop(Node):
    """The body again and again, until a condition holds or the turns are used up.

    Args:
        body: What a turn runs.
        max_turns: At most so many turns; at least 1.
        until: An expression over channels, `turn` (from 1) and `events` (what the turn told, as
            mappings: `any(e["event"] == "warned" for e in events)`), asked after each turn.
        carry: The channels that the body writes and the next turn starts with; the others start
            each turn as they stood before the loop. None: all are carried.
        history: A channel that gets what each turn so far wrote, as a list of mappings; the body
            and the condition may read it.
        name: The node's own name in paths.
    """

    body: Node
    max_turns: int
    until: str | None = None
    carry: tuple[str, ...] | None = None
    history: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_node(self.body))
        if self.carry is not None:
            object.__setattr__(self, "carry", tuple(self.carry))
        if not isinstance(self.max_turns, int) or self.max_turns < 1:
            raise ConfigError(f"max_turns is {self.max_turns!r}", fix="give a whole number from 1")


@dataclass(frozen=True)
class SubFlow(Node):
    """A flow as a step of another: it sees its inputs only, and gives its outputs only.

    Args:
        flow: The inner flow.
        inputs: The inner flow's input to the outer channel that feeds it.
        outputs: The inner flow's output to the outer channel that gets it.
        name: The step's own name in paths.
    """

    flow: Any
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class Recurse(Node):
    """The flow that this node is a part of, once more, as in Tree of Clarifications.

    The inner run has a state of its own: it sees the flow's inputs only, and gives the flow's
    outputs, which the flow must name.

    Args:
        base: What runs instead where the flow is nested in itself `max_depth` times; it writes
            the flow's outputs.
        max_depth: At most so often is the flow nested in itself; at least 1.
        inputs: The flow's input to the channel that feeds it.
        outputs: The flow's output to the channel that gets it.
        name: The node's own name in paths.
    """

    base: Node
    max_depth: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", as_node(self.base))
        if not isinstance(self.max_depth, int) or self.max_depth < 1:
            raise ConfigError(f"max_depth is {self.max_depth!r}", fix="give a whole number from 1")


@dataclass(frozen=True)
class Interrupt(Node):
    """Stops the run for a person; resuming it is the approval.

    Args:
        message: The question.
        show: The channels that the person sees.
        edit: The channels that the person may change, and sees as well.
        name: The node's own name in paths.
    """

    message: str
    show: tuple[str, ...] = ()
    edit: tuple[str, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "show", tuple(self.show))
        object.__setattr__(self, "edit", tuple(self.edit))


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order in which they are written."""
    yield node
    below: list[Node | None] = []
    match node:
        case Sequence():
            below += node.nodes
        case Parallel():
            below += [*node.branches.values(), node.join]
        case Map():
            below += [node.body, node.join]
        case Route():
            below += [None if isinstance(node.by, str) else node.by, *node.cases.values()]
            below.append(node.default)
        case Loop():
            below.append(node.body)
        case Recurse():
            below.append(node.base)
        case SubFlow():
            below.append(node.flow.node)
        case _:
            below.append(getattr(node, "fallback", None))
    for one in below:
        if one is not None:
            yield from walk(one)
