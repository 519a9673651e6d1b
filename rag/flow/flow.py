"""A flow: a checked node with a name, inputs, outputs and resources, ready to run."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.flow.compile import BUILDS, Builder, Positions
from rag.flow.constructs import SubFlow, as_node, walk
from rag.flow.node import Node
from rag.flow.resources import Resources
from rag.flow.run.events import Event
from rag.flow.run.execution import Execution, blocking, initial_state
from rag.flow.run.policy import Budget
from rag.flow.run.run import Run
from rag.flow.scope import Channel, Scope
from rag.flow.types import matcher

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable


class Flow(Node):
    """A node, checked: every read has a writer on every path, with a fitting type.

    Args:
        node: What runs.
        name: The flow's name.
        description: One line that says what the flow is good for.
        inputs: Channel to type, of what a caller gives. An input whose type allows None may
            be left out. Default: `query`, a string.
        outputs: The channels that a caller gets; None: all there are in the end.
        resources: Name to specification or open resource; a `Resources` to share open ones.
        budget: What one run may use.
        positions: Where the nodes stand in a file, for messages.

    Raises:
        BuildError: The parts do not fit together; it holds all problems, not the first only.
    """

    def __init__(
        self,
        node: Node,
        *,
        name: str | None = None,
        description: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Iterable[str] | None = None,
        resources: Mapping[str, Any] | Resources | None = None,
        budget: Budget | None = None,
        positions: Positions | None = None,
    ) -> None:
        self.node = as_node(node)
        self.name = name
        self.description = description
        self.inputs: dict[str, Any] = dict(inputs) if inputs is not None else {"query": str}
        self.outputs = tuple(outputs) if outputs is not None else None
        self.resources = resources if isinstance(resources, Resources) else Resources(resources)
        self.budget = budget
        builder = Builder(BUILDS, positions, self.inputs, self.outputs)
        scope = Scope({n: Channel(kind, "inputs") for n, kind in self.inputs.items()})
        built = builder.build(self.node, scope, "steps")
        builder.finish(self, built)
        ends = {n: c.type for n, c in built.scope.channels.items() if not c.maybe}
        self.output_types: dict[str, Any] = {n: ends[n] for n in self.outputs or ends if n in ends}
        """Channel to type, of what `invoke` returns."""
        self.interrupts = builder.interrupts
        """The paths of the nodes that stop a run for a person, each with the channels that may
        be edited there and their types."""
        self.suspends = built.suspends or (budget is not None and budget.seconds is not None)
        self.runner = built.run
        self.matchers = {n: matcher(kind) for n, kind in self.inputs.items()}
        self.tracer: Any = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        try:
            other = other if isinstance(other, Flow) else Flow(other)
        except Exception:  # noqa: BLE001 - a node that is no flow by itself equals none
            return False
        mine, theirs = self._identity(), other._identity()
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def _identity(self) -> tuple[Any, ...]:
        shown = (self.name, self.description, self.inputs, self.outputs)
        return (self.node, shown, self.resources, self.budget)

    def __rshift__(self, other: Node) -> Any:
        return self.at() >> other

    def at(
        self,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> SubFlow:
        """This flow as a step of another, with its inputs and outputs renamed."""
        return SubFlow(self, dict(inputs or {}), dict(outputs or {}), name)

    def with_resources(self, **resources: Any) -> Flow:
        """The same flow with other resources in place of those named."""
        other = copy.copy(self)
        other.resources = Resources({**self.resources.specs, **resources}, base=self.resources.base)
        return other

    def traced(self, tracer: Any) -> Flow:
        """The same flow, each run and step of it a span of this OpenTelemetry tracer."""
        other = copy.copy(self)
        other.tracer = tracer
        return other

    def __repr__(self) -> str:
        return f"Flow({self.node!r}, name={self.name!r}, inputs={self.inputs!r})"

    def walk(self) -> Iterator[Node]:
        """All nodes, those of inner flows included."""
        return walk(self.node)

    def _flow(self, inputs: Mapping[str, Any]) -> Flow:
        return self

    async def run_within(self, run: Run, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run as a part of another run, which it sees through `run`; returns the outputs."""
        state = initial_state(self, inputs)
        await self.runner(state, run)
        return {name: state[name] for name in self.output_types}

    def invoke(self, **inputs: Any) -> dict[str, Any]:
        """See `Node.invoke`. Works inside a running event loop too, and holds it up."""
        return Execution(self, inputs).invoke()

    async def ainvoke(self, **inputs: Any) -> dict[str, Any]:
        """See `Node.ainvoke`."""
        return await Execution(self, inputs).ainvoke()

    def astream(self, **inputs: Any) -> AsyncIterator[Event]:
        """See `Node.astream`."""
        return Execution(self, inputs).astream()

    def stream(self, **inputs: Any) -> Iterator[Event]:
        """See `Node.stream`."""
        return Execution(self, inputs).stream()

    def batch(
        self, many: Iterable[Mapping[str, Any]], *, concurrency: int = 8
    ) -> list[dict[str, Any]]:
        """See `Node.batch`."""
        return blocking(self.abatch(many, concurrency=concurrency))

    async def abatch(
        self, many: Iterable[Mapping[str, Any]], *, concurrency: int = 8
    ) -> list[dict[str, Any]]:
        """See `Node.abatch`."""
        gate = asyncio.Semaphore(concurrency)

        async def one(inputs: Mapping[str, Any]) -> dict[str, Any]:
            async with gate:
                return await Execution(self, inputs).ainvoke()

        return list(await asyncio.gather(*(one(inputs) for inputs in many)))

    def as_runnable(self) -> Runnable[dict[str, Any], dict[str, Any]]:
        """This flow as a LangChain `Runnable` from inputs to outputs."""
        from langchain_core.runnables import RunnableLambda

        def call(inputs: dict[str, Any]) -> dict[str, Any]:
            return self.invoke(**inputs)

        async def acall(inputs: dict[str, Any]) -> dict[str, Any]:
            return await self.ainvoke(**inputs)

        return RunnableLambda(call, acall, name=self.name or "flow")

    def to_yaml(self) -> str:
        """See `Node.to_yaml`."""
        from rag.flow.yaml import dump

        return dump(self)

    def save(self, path: Path) -> None:
        """Write the flow as a pipeline file, whole or not at all."""
        from rag.files import write_atomically

        write_atomically(path, self.to_yaml())

    def close(self) -> None:
        """Close the resources that the flow opened."""
        self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
