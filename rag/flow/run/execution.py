"""One run of a flow, for the four kinds of caller: synchronous or not, for the result or events."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from rag.errors import BudgetError, InputError, Interrupted
from rag.flow.run.events import Done, Event, Waiting
from rag.flow.run.run import Journal, Run, Spent, State, Threads
from rag.flow.run.tracing import run_span
from rag.flow.types import fits, show

if TYPE_CHECKING:
    from rag.flow.flow import Flow

T = TypeVar("T")
_HALF = re.compile(r"[\ud800-\udfff]")
"""Lone surrogates, which JSON can carry and no tokenizer, database or file takes."""


class Execution:
    """A flow with its inputs, to be run once.

    Args:
        flow: What runs.
        inputs: Its channels in the beginning.
        journal: Remembers what steps write; needed where the flow interrupts.

    Raises:
        InputError: The inputs do not fit, or the flow interrupts and nothing remembers the run.
    """

    def __init__(
        self, flow: Flow, inputs: Mapping[str, Any], journal: Journal | None = None
    ) -> None:
        if flow.interrupts and journal is None:
            raise InputError(
                "the flow stops for a person, and nothing would remember where",
                where=next(iter(flow.interrupts)),
                fix="run it with a checkpoint: rag run --checkpoint, or Checkpoints.start",
            )
        self.flow, self.inputs, self.journal = flow, inputs, journal
        self.spent = Spent(flow.budget)

    async def _once(self, emit: Callable[[Event], None] | None = None) -> dict[str, Any]:
        flow, started = self.flow, perf_counter()
        state = initial_state(flow, self.inputs)
        threads = Threads()
        run = Run(flow.resources, threads, self.spent, emit, self.journal, flow.tracer)
        try:
            if flow.tracer is None:
                await self._within_budget(state, run)
            else:
                with run_span(flow.tracer, flow.name or "flow") as span:
                    span.reads(self.inputs)
                    await self._within_budget(state, run)
                    span.wrote({name: state[name] for name in flow.output_types})
        except Interrupted as stop:
            if emit is not None:
                emit(Waiting(stop.where or "", stop.what, stop.channels))
            raise
        finally:
            threads.close()
        result = {name: state[name] for name in flow.output_types}
        if emit is not None:
            spent = self.spent
            emit(Done(result, perf_counter() - started, spent.llm_calls, spent.tokens))
        return result

    async def _within_budget(self, state: State, run: Run) -> None:
        budget = self.flow.budget
        if budget is None or budget.seconds is None:
            await self.flow.runner(state, run)
            return
        try:
            async with asyncio.timeout(budget.seconds):
                await self.flow.runner(state, run)
        except TimeoutError as error:
            raise BudgetError(
                f"the run took longer than its budget of {budget.seconds:g} s",
                where="budget",
                fix="raise budget: {seconds: ...}, or make the flow do less",
            ) from error

    def invoke(self) -> dict[str, Any]:
        """The outputs. Works inside a running event loop too, and holds it up."""
        return blocking(self._once()) if self.flow.suspends else straight(self._once())

    async def ainvoke(self) -> dict[str, Any]:
        """The outputs."""
        return await self._once()

    async def astream(self) -> AsyncIterator[Event]:
        """The events as they come; closing the iterator cancels the run."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop, here = asyncio.get_running_loop(), threading.get_ident()

        def emit(event: Event) -> None:
            if threading.get_ident() == here:
                events.put_nowait(event)
            else:
                loop.call_soon_threadsafe(events.put_nowait, event)

        task = asyncio.create_task(self._once(emit))
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def stream(self) -> Iterator[Event]:
        """The events as they come."""
        # The loop lives in a thread of its own, so that a slow reader holds no step up.
        events: queue.Queue[Event | None] = queue.Queue()
        failure: list[BaseException] = []
        cancel: queue.Queue[Callable[[], object]] = queue.Queue()

        async def work() -> None:
            task, loop = asyncio.current_task(), asyncio.get_running_loop()
            assert task is not None  # noqa: S101 - asyncio.run makes one
            cancel.put(lambda: loop.call_soon_threadsafe(task.cancel))
            await self._once(events.put)

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


def initial_state(flow: Flow, inputs: Mapping[str, Any]) -> State:
    """The flow's channels in the beginning.

    Raises:
        InputError: An input is missing, unknown or of another type.
    """
    for wrong in inputs.keys() - flow.inputs.keys():
        raise InputError(f"the flow has no input {wrong!r}", fix=f"its inputs: {_listed(flow)}")
    state = dict(inputs)
    for name, kind in flow.inputs.items():
        if name not in state:
            if not fits(type(None), kind) or kind is Any:
                what = f"the input {name!r} ({show(kind)}) is missing"
                raise InputError(what, fix=f"the inputs are: {_listed(flow)}")
            state[name] = None
        elif not flow.matchers[name](state[name]):
            given = type(state[name]).__name__
            raise InputError(f"the input {name!r} is {given}, {show(kind)} is wanted")
        elif isinstance(text := state[name], str) and (half := _HALF.search(text)):
            what = f"the input {name!r} has half a character at position {half.start()}"
            raise InputError(what, fix="give whole Unicode text: no lone surrogates")
    return state


def _listed(flow: Flow) -> str:
    return ", ".join(f"{name} ({show(kind)})" for name, kind in flow.inputs.items()) or "none"


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
