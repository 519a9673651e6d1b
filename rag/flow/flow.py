"""A flow: a checked node with a name, inputs, outputs and resources, ready to run."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rag.errors import BudgetError, InputError
from rag.flow.build import BUILDS, Builder, Positions
from rag.flow.constructs import SubFlow, as_node
from rag.flow.events import Done, Event
from rag.flow.node import Node
from rag.flow.policy import Budget
from rag.flow.resources import Resources
from rag.flow.run import Run, Spent, State, Threads
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, matcher, show

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

T = TypeVar("T")


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
        builder = Builder(BUILDS, positions)
        scope = Scope({n: Channel(kind, "inputs") for n, kind in self.inputs.items()})
        built = builder.build(self.node, scope, "steps")
        for wrong in [n for n in self.outputs or () if n not in built.scope.channels]:
            near = built.scope.nearest(wrong)
            there = ", ".join(sorted(built.scope.channels))
            fix = f"did you mean {near!r}? there are: {there}" if near else f"there are: {there}"
            gone = built.scope.gone.get(wrong)
            builder.report(self, "outputs", gone or f"nothing writes {wrong!r}", wrong, fix)
        builder.check()
        ends = {n: c.type for n, c in built.scope.channels.items() if not c.maybe}
        self.output_types: dict[str, Any] = {n: ends[n] for n in self.outputs or ends if n in ends}
        """Channel to type, of what `invoke` returns."""
        self.suspends = built.suspends or (budget is not None and budget.seconds is not None)
        self._run = built.run
        self._matchers = {n: matcher(kind) for n, kind in self.inputs.items()}

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
        merged = Resources({**self.resources.specs, **resources}, base=self.resources.base)
        return Flow(
            self.node,
            name=self.name,
            description=self.description,
            inputs=self.inputs,
            outputs=self.outputs,
            resources=merged,
            budget=self.budget,
        )

    def _flow(self, inputs: Mapping[str, Any]) -> Flow:
        return self

    # Running

    def _state(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        for wrong in inputs.keys() - self.inputs.keys():
            raise InputError(
                f"the flow has no input {wrong!r}", fix=f"its inputs: {_signature(self.inputs)}"
            )
        state = dict(inputs)
        for name, kind in self.inputs.items():
            if name not in state:
                if not fits(type(None), kind) or kind is Any:
                    what = f"the input {name!r} ({show(kind)}) is missing"
                    raise InputError(what, fix=f"the inputs are: {_signature(self.inputs)}")
                state[name] = None
            elif not self._matchers[name](state[name]):
                given = type(state[name]).__name__
                raise InputError(f"the input {name!r} is {given}, {show(kind)} is wanted")
        return state

    async def run_within(self, run: Run, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run as a part of another flow's run; returns the outputs."""
        state = self._state(inputs)
        await self._run(state, run.under(self.resources) if self.resources.specs else run)
        return {name: state[name] for name in self.output_types}

    async def _once(
        self, inputs: Mapping[str, Any], emit: Callable[[Event], None] | None = None
    ) -> dict[str, Any]:
        started = perf_counter()
        state = self._state(inputs)
        threads, spent = Threads(), Spent(self.budget)
        run = Run(self.resources, threads, spent, emit)
        try:
            if self.budget is None or self.budget.seconds is None:
                await self._run(state, run)
            else:
                await self._in_time(state, run, self.budget.seconds)
        finally:
            threads.close()
        result = {name: state[name] for name in self.output_types}
        if emit is not None:
            emit(Done(result, perf_counter() - started, spent.llm_calls, spent.tokens))
        return result

    async def _in_time(self, state: State, run: Run, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._run(state, run)
        except TimeoutError as error:
            raise BudgetError(
                f"the run took longer than its budget of {seconds:g} s",
                where="budget",
                fix="raise budget: {seconds: ...}, or make the flow do less",
            ) from error

    def invoke(self, **inputs: Any) -> dict[str, Any]:
        """See `Node.invoke`. Works inside a running event loop too, and holds it up."""
        work = self._once(inputs)
        return blocking(work) if self.suspends else straight(work)

    async def ainvoke(self, **inputs: Any) -> dict[str, Any]:
        """See `Node.ainvoke`."""
        return await self._once(inputs)

    async def astream(self, **inputs: Any) -> AsyncIterator[Event]:
        """See `Node.astream`."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop, here = asyncio.get_running_loop(), threading.get_ident()

        def emit(event: Event) -> None:
            if threading.get_ident() == here:
                events.put_nowait(event)
            else:
                loop.call_soon_threadsafe(events.put_nowait, event)

        task = asyncio.create_task(self._once(inputs, emit))
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def stream(self, **inputs: Any) -> Iterator[Event]:
        """See `Node.stream`."""
        # The loop lives in a thread of its own, so that a slow reader holds no step up.
        events: queue.Queue[Event | None] = queue.Queue()
        failure: list[BaseException] = []
        cancel: queue.Queue[Callable[[], object]] = queue.Queue()

        async def work() -> None:
            task, loop = asyncio.current_task(), asyncio.get_running_loop()
            assert task is not None  # noqa: S101 - asyncio.run makes one
            cancel.put(lambda: loop.call_soon_threadsafe(task.cancel))
            await self._once(inputs, events.put)

        def host() -> None:
            try:
                asyncio.run(work())
            except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
                failure.append(error)
            finally:
                events.put(None)

        thread = threading.Thread(target=host, name="rag-stream")
        thread.start()
        ended = False
        try:
            while (event := events.get()) is not None:
                yield event
            ended = True
        finally:
            if not ended:
                with contextlib.suppress(RuntimeError):  # the run ended meanwhile
                    cancel.get()()
            thread.join()
        if failure:
            raise failure[0]

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
                return await self._once(inputs)

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


def straight(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, without the price of an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a step that was not to wait did")


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine; inside a running loop it gets a loop in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    result: list[T] = []
    failure: list[BaseException] = []

    def host() -> None:
        try:
            result.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=host, name="rag-invoke")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _signature(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({show(kind)})" for name, kind in inputs.items()) or "none"
