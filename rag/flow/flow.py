"""A flow: a checked node with a name, inputs, outputs and resources, ready to run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from rag.errors import RagError
from rag.flow.absence import absent, check
from rag.flow.compile import BUILDS, Builder, Positions
from rag.flow.constructs.checks import texts
from rag.flow.constructs.guard import Guard
from rag.flow.constructs.subflow import SubFlow
from rag.flow.described import Described
from rag.flow.inputs import Input, parse_inputs
from rag.flow.node import Node, as_node, root_of, walk
from rag.flow.place import Place
from rag.flow.policies import Budget
from rag.flow.resources import Resources
from rag.flow.run.batch import run_all
from rag.flow.run.events import Event
from rag.flow.run.execution import Execution
from rag.flow.run.record import RunRecord
from rag.flow.run.runtime import RUNTIME
from rag.flow.scope import Channel, Scope
from rag.flow.types import matcher, show

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

Config = Mapping[str, Mapping[str, Any]]
"""Step (place or label) to fields of its configuration that differ in one run."""


class Flow(Described):
    """A node, checked: every read has a writer on every path, with a fitting type.

    A flow is a node: `step >> flow`, a branch, the body of a loop.

    Args:
        node: What runs.
        name: The flow's name.
        description: One line that says what the flow is good for.
        inputs: Channel to type, or to an `Input` with a default, of what a caller gives. An
            input whose type allows None may be left out. Default: `query`, a string.
        outputs: The channels that a caller gets; None: all there are in the end.
        resources: Name to specification or open resource; a `Resources` to share open ones.
            An inner flow inherits those that it does not name.
        budget: What one run may use.
        positions: Where the nodes are in a file, for messages.

    Raises:
        BuildError: The parts do not fit together; it holds all problems, not the first only.
    """

    yaml_key = "flow"

    def __init__(
        self,
        node: Node,
        *,
        name: str | None = None,
        description: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Iterable[str] | str | None = None,
        resources: Mapping[str, Any] | Resources | None = None,
        budget: Budget | Mapping[str, Any] | None = None,
        positions: Positions | None = None,
    ) -> None:
        self.node = as_node(node)
        self.name = name
        self.description = description
        kinds, defaults = parse_inputs({"query": str} if inputs is None else inputs)
        self.inputs: Mapping[str, Any] = kinds
        self.defaults: Mapping[str, Any] = defaults
        self.outputs = None if outputs is None else texts("outputs", _listed(outputs))
        self.resources = resources if isinstance(resources, Resources) else Resources(resources)
        self.budget: Budget | None = Guard(self.node, budget=budget).budget  # type: ignore[arg-type]
        self.positions: Positions = dict(positions or {})
        self.tracer: Any = None
        self._there: Resources | None = None
        """The resources, once all of them were there."""
        self._build()

    def _build(self) -> None:
        builder = Builder(
            BUILDS,
            inputs=self.inputs,
            defaults=self.defaults,
            outputs=self.outputs,
            resources=self.resources,
            positions=self.positions,
        )
        scope = Scope({n: Channel(kind, "inputs") for n, kind in self.inputs.items()})
        built = builder.build(self.node, scope, root_of(self.node))
        compiled = builder.finish(self, built)
        ends = {n: c for n, c in compiled.writes.items() if self.outputs or not c.optional}
        self.output_types: Mapping[str, Any] = {
            n: ends[n].type | None if ends[n].optional else ends[n].type
            for n in self.outputs or ends
            if n in ends
        }
        """Channel to type, of what `invoke` returns."""
        self.interrupts = compiled.interrupts
        """The places of the nodes that pause a run for approval, as text, each with the channels
        that may be edited there and their types."""
        self.steps = compiled.steps
        """Place to operator, those of inner flows included."""
        self.needs = compiled.needs
        """Place, name and kind of each resource that a step takes."""
        self.waits = compiled.waits or (self.budget is not None and self.budget.seconds is not None)
        self.runner = compiled.run
        self.matchers: Mapping[str, Callable[[Any], bool]] = {
            n: matcher(kind) for n, kind in self.inputs.items()
        }

    # As a value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Flow):
            return NotImplemented
        return self._identity() == other._identity()

    __hash__ = None  # type: ignore[assignment]

    def _identity(self) -> tuple[Any, ...]:
        shown = (self.name, self.description, self.inputs, self.defaults, self.outputs)
        return (self.node, shown, self.resources, self.budget)

    def _arguments(self) -> dict[str, Any]:
        inputs = {
            name: Input(kind, self.defaults[name]) if name in self.defaults else kind
            for name, kind in self.inputs.items()
        }
        return {
            "name": self.name,
            "description": self.description,
            "inputs": inputs,
            "outputs": self.outputs,
            "budget": self.budget,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        resources = {"specs": self.resources.specs, "base": self.resources.base}
        return _rebuild, (self.node, self._arguments(), resources)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {show(kind)}" for name, kind in self.inputs.items())
        outputs = ", ".join(self.output_types)
        return f"<Flow {self.name or ''}({inputs}) -> {outputs}; {len(self.steps)} steps>"

    # As a node

    def children(self) -> dict[str, Node]:
        """The flow's node."""
        return {"": self.node}

    def with_children(self, children: Mapping[str, Node]) -> Flow:
        """The flow with another node."""
        return self.with_node(children[""]) if children else self

    def with_node(self, node: Node, resources: Resources | None = None) -> Flow:
        """The flow with another node, checked again; resources stay, unless others are given."""
        return self._variant(node, resources or self.resources)

    def _variant(self, node: Node, resources: Resources) -> Flow:
        other = Flow(node, **self._arguments(), resources=resources, positions=self.positions)
        other.tracer = self.tracer
        return other

    def as_step(self) -> SubFlow:
        """See `at`."""
        return self.at()

    def at(
        self,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> SubFlow:
        """This flow as a step of another, with its inputs and outputs renamed."""
        return SubFlow(self, dict(inputs or {}), dict(outputs or {}), name)

    def walk(self) -> Iterator[tuple[Place, Node]]:
        """All nodes with their places, those of inner flows included."""
        return walk(self.node, root_of(self.node))

    def absent(self) -> list[RagError]:
        """Why resources that the steps take cannot be opened now, found without opening them."""
        return absent(self)

    def check_resources(self) -> None:
        """See that what the steps take can be opened; a run does so before anything runs.

        Raises:
            RagError: A resource is not there, and no fallback does without it: a ConfigError,
                or what opening it would raise (ModelError, IndexStateError).
            BuildError: Several are not; it holds all of them.
        """
        if self._there is not self.resources and check(self):
            self._there = self.resources

    # Variants

    def with_resources(self, **resources: Any) -> Flow:
        """The same flow with other resources in place of those named.

        What is not named is shared with this flow: opened once, closed with the last of them.

        Raises:
            BuildError: They do not fit.
        """
        return self._variant(self.node, self.resources.but(resources))

    def bound(self, bind: Callable[[Flow], Mapping[str, Any]]) -> Flow:
        """The same flow with other resources in it and in its inner flows.

        Args:
            bind: Gets a flow and returns what takes the place of its resources, by name.
        """

        def again(node: Node) -> Node:
            if isinstance(node, SubFlow):
                return replace(node, flow=node.flow.bound(bind))
            return node.with_children({e: again(c) for e, c in node.children().items()})

        inner = any(isinstance(node, SubFlow) for _, node in self.walk())
        node = again(self.node) if inner else self.node
        return self._variant(node, self.resources.but(bind(self)))

    def traced(self, tracer: Any) -> Flow:
        """The same flow, each run and step of it a span of this OpenTelemetry tracer."""
        other = self._variant(self.node, self.resources)
        other.tracer = tracer
        return other

    # Running

    def _execution(self, config: Config | None, inputs: dict[str, Any]) -> Execution:
        if "config" in self.inputs:
            inputs, config = {**inputs, "config": config}, None
        return Execution(self, inputs, config=config)

    def invoke(self, /, *, config: Config | None = None, **inputs: Any) -> dict[str, Any]:
        """Run over the inputs and return every output channel.

        Args:
            config: Step (its place or label) to fields of its configuration that differ in
                this run: `config={"bm25": {"k": 5}}`.
            inputs: The flow's inputs.

        Raises:
            InputError: The values do not fit the inputs.
            ConfigError: A step or field of `config` is unknown, or its value is wrong; or a
                resource is not there (see `check_resources`).
            StepError: A step failed; the error names it.
            BudgetError: The run exceeded its budget.
        """
        return self._execution(config, inputs).invoke()

    async def ainvoke(self, /, *, config: Config | None = None, **inputs: Any) -> dict[str, Any]:
        """`invoke` for asynchronous callers."""
        return await self._execution(config, inputs).ainvoke()

    def run(self, /, *, config: Config | None = None, **inputs: Any) -> RunRecord:
        """Run, and return the record of the run; of a failed run too, with its `error`."""
        return self._execution(config, inputs).recorded()

    def stream(self, /, *, config: Config | None = None, **inputs: Any) -> Iterator[Event]:
        """Run and yield the events as they come; the last is `Done` with result and record."""
        return self._execution(config, inputs).stream()

    def astream(self, /, *, config: Config | None = None, **inputs: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; closing it cancels the run."""
        return self._execution(config, inputs).astream()

    def batch(
        self,
        many: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """See `Node.batch`."""
        work = self.abatch(many, concurrency=concurrency, return_exceptions=return_exceptions)
        return RUNTIME.run(work)

    async def abatch(
        self,
        many: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """See `Node.abatch`."""
        return await run_all(
            many,
            lambda inputs: Execution(self, inputs),
            concurrency,
            return_exceptions=return_exceptions,
        )

    def as_runnable(self) -> Runnable[dict[str, Any], dict[str, Any]]:
        """This flow as a LangChain `Runnable` from inputs to outputs."""
        from rag.flow.langchain import FlowRunnable

        return FlowRunnable(self)

    # Lifetime

    def close(self) -> None:
        """Close the resources that the flow and its inner flows opened."""
        for _, node in self.walk():
            if isinstance(node, SubFlow):
                node.flow.resources.close()
        self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listed(outputs: Any) -> Any:
    return outputs if isinstance(outputs, str | list | tuple | set) else list(outputs)


def _rebuild(node: Node, arguments: dict[str, Any], resources: dict[str, Any]) -> Flow:
    return Flow(node, **arguments, resources=Resources(resources["specs"], base=resources["base"]))


def _alone(node: Node, inputs: Mapping[str, Any] | None) -> Flow:
    """A bare node as a flow whose inputs are the channels given."""
    if isinstance(node, Flow):
        return node
    return Flow(node, inputs=None if inputs is None else dict.fromkeys(inputs, Any))


Node._alone = _alone
