"""What flows are made of: nodes that know their children and how they are written down."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from rag.errors import ConfigError
from rag.flow.place import Place, segment

if TYPE_CHECKING:
    from rag.flow.run.events import Event


class Node:
    """A step or a construct; `a >> b` runs `b` after `a`.

    A node runs by itself over the channels it is given by name: `Rerank(k=3).invoke(query=...,
    documents=...)`. Whoever keeps one for many runs names it and its inputs in a `Flow`.
    """

    yaml_key: ClassVar[str] = ""
    """The key that tells a construct in a pipeline file, and its label where it has no name."""
    shares_place: ClassVar[bool] = False
    """Whether the node shares the place of its body."""
    name: str | None

    @property
    def label(self) -> str:
        """The node's name in places: its own where it has one."""
        return self.name or self.yaml_key

    def children(self) -> dict[str, Node]:
        """The nodes directly below, by their segments of places; `""`: the only body."""
        return {}

    def with_children(self, children: Mapping[str, Node]) -> Self:
        """This node with other nodes below; what is not named stays."""
        return self

    def as_step(self) -> Node:
        """This node where a node is wanted; a flow gives itself as a step."""
        return self

    def __rshift__(self, other: Node) -> Sequence:
        return Sequence(self, other)

    def __rrshift__(self, other: Any) -> Sequence:
        return Sequence(other, self)

    # Running; rag.flow.flow says how a bare node becomes a flow.

    _alone: ClassVar[Any] = None

    def invoke(self, /, **inputs: Any) -> dict[str, Any]:
        """Run over the input channels and return every output channel.

        Raises:
            BuildError: The parts do not fit together.
            InputError: The values do not fit the inputs.
            StepError: A step failed; the error names it.
            BudgetError: The run exceeded its budget.
        """
        result: dict[str, Any] = self._alone(inputs).invoke(**inputs)
        return result

    async def ainvoke(self, /, **inputs: Any) -> dict[str, Any]:
        """`invoke` for asynchronous callers."""
        result: dict[str, Any] = await self._alone(inputs).ainvoke(**inputs)
        return result

    def stream(self, /, **inputs: Any) -> Iterator[Event]:
        """Run and yield the events as they come; the last is `Done` with the result."""
        events: Iterator[Event] = self._alone(inputs).stream(**inputs)
        return events

    def astream(self, /, **inputs: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; closing it cancels the run."""
        events: AsyncIterator[Event] = self._alone(inputs).astream(**inputs)
        return events

    def batch(
        self,
        many: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Run once per mapping of inputs, at most `concurrency` at a time, preserving order.

        The first failure cancels the other runs, unless `return_exceptions` puts errors in the
        places of results.
        """
        many = list(many)
        flow = self._alone(many[0] if many else {})
        results: list[Any] = flow.batch(
            many, concurrency=concurrency, return_exceptions=return_exceptions
        )
        return results

    async def abatch(
        self,
        many: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """`batch` for asynchronous callers."""
        many = list(many)
        flow = self._alone(many[0] if many else {})
        results: list[Any] = await flow.abatch(
            many, concurrency=concurrency, return_exceptions=return_exceptions
        )
        return results

    def to_yaml(self) -> str:
        """This node as a pipeline file; `load_flow` of it gives an equal flow."""
        text: str = self._alone(None).to_yaml()
        return text


@dataclass(frozen=True, init=False, eq=True)
class Sequence(Node):
    """One node after another; what one writes, the next reads. `a >> b` makes one."""

    nodes: tuple[Node, ...]
    name: ClassVar[None] = None  # type: ignore[misc]

    def __init__(self, *nodes: Node) -> None:
        flat: list[Node] = []
        for node in nodes:
            step = as_node(node)
            flat.extend(step.nodes if isinstance(step, Sequence) else (step,))
        object.__setattr__(self, "nodes", tuple(flat))

    def children(self) -> dict[str, Node]:
        """The nodes, by label; the second of one label is `label:2`."""
        below: dict[str, Node] = {}
        seen: dict[str, int] = {}
        for node in self.nodes:
            seen[node.label] = seen.get(node.label, 0) + 1
            below[segment(node.label, seen[node.label])] = node
        return below

    def with_children(self, children: Mapping[str, Node]) -> Sequence:
        """See `Node.with_children`."""
        return Sequence(*({**self.children(), **children}.values()))


def as_node(node: Any) -> Node:
    """A node where one is wanted: a flow as a step, a sequence of one as that one.

    Raises:
        ConfigError: It is no node; the error says how to make one of it.
    """
    if isinstance(node, Node):
        step = node.as_step()
        if isinstance(step, Sequence) and len(step.nodes) == 1:
            return step.nodes[0]
        return step
    if isinstance(node, type) and issubclass(node, Node):
        fix = f"an operator's class is made a step by calling it: {node.__name__}()"
        raise ConfigError(f"{node.__name__} is a class, not a step", fix=fix)
    if isinstance(node, list | tuple):
        raise ConfigError(
            f"a {type(node).__name__} is not a step",
            fix="put steps after one another with >>; Sequence() goes on unchanged",
        )
    if callable(node):
        name = getattr(node, "__name__", type(node).__name__)
        fix = "decorate a function with @operator(writes=...), or wrap a runnable with as_step"
        raise ConfigError(f"{name} is a function, not a step", fix=fix)
    raise ConfigError(f"{node!r} is not a step", fix="give an operator, a construct or a Flow")


def place_of(parent: Node, place: Place, edge: str, child: Node) -> Place:
    """The place of a child: the one spot where places are made.

    Args:
        parent: The node above.
        place: Its place.
        edge: The child's key in `parent.children()`.
        child: The child.
    """
    if isinstance(parent, Sequence):
        return place.below(edge)
    if parent.shares_place and not edge:
        return place
    return place.below(edge, "" if isinstance(child, Sequence) else segment(child.label))


def root_of(node: Node, place: Place = Place()) -> Place:
    """The place of a flow's own node.

    Args:
        node: The node.
        place: The place of the flow; default: it is the whole.
    """
    return place if isinstance(node, Sequence) else place.below(segment(node.label))


def walk(node: Node, place: Place = Place()) -> Iterator[tuple[Place, Node]]:
    """The node and all below it, each with its place, in the order in which they are written.

    Args:
        node: Where to start.
        place: Its place.
    """
    yield place, node
    for edge, child in node.children().items():
        yield from walk(child, place_of(node, place, edge, child))


# How constructs are written down

Where = Literal["head", "inside", "beside"]
Holds = Literal["value", "texts", "node", "operator", "nodes", "choice"]


@dataclass(frozen=True, slots=True)
class Part:
    """How a field of a construct is written in a pipeline file.

    Args:
        holds: A plain value, a list of texts (one text stands for a list of one), a node, an
            operator, a mapping of nodes, or a choice (an expression or a node).
        where: The value of the construct's key, inside the mapping that is that value, or beside
            the key.
        key: Its key there; the field's name if not given.
        edge: Of a node: its segment in places; `""`: the only body.
        schema: JSON Schema of a value.
    """

    holds: Holds = "value"
    where: Where = "beside"
    key: str = ""
    edge: str = ""
    schema: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_REQUIRED: Any = dataclasses.MISSING


def part(
    holds: Holds = "value",
    where: Where = "beside",
    *,
    default: Any = _REQUIRED,
    key: str = "",
    edge: str = "",
    schema: Mapping[str, Any] | None = None,
) -> Any:
    """A field of a construct's dataclass, with how it is written (see `Part`)."""
    found = Part(holds, where, key, edge, schema or {})
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata={"part": found})
    return dataclasses.field(default=default, metadata={"part": found})


class Construct(Node):
    """Base of the constructs: dataclasses whose fields say how they are written down."""

    @classmethod
    def parts(cls) -> dict[str, Part]:
        """Field to how it is written, in the order of the fields."""
        return {
            field.name: field.metadata["part"]
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if "part" in field.metadata
        }

    @classmethod
    def required(cls) -> frozenset[str]:
        """The fields that have no default."""
        return frozenset(
            field.name
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )

    def children(self) -> dict[str, Node]:
        """See `Node.children`."""
        below: dict[str, Node] = {}
        for name, one in self.parts().items():
            value = getattr(self, name)
            if one.holds == "nodes":
                below.update({segment(branch): node for branch, node in value.items()})
            elif isinstance(value, Node):
                below[one.edge] = value
        return below

    def with_children(self, children: Mapping[str, Node]) -> Self:
        """See `Node.with_children`."""
        changed: dict[str, Any] = {}
        for name, one in self.parts().items():
            value = getattr(self, name)
            if one.holds == "nodes":
                changed[name] = {
                    branch: children.get(segment(branch), node) for branch, node in value.items()
                }
            elif isinstance(value, Node) and one.edge in children:
                changed[name] = children[one.edge]
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]
