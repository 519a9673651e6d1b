"""One run of a flow, for four kinds of callers: synchronous or not, for the result or events."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from time import perf_counter, time
from typing import Any, Protocol, TypeVar

from rag.errors import ConfigError, InputError, Interrupted, RagError
from rag.flow.operator import PLACEMENT, Operator
from rag.flow.place import Place
from rag.flow.policies import Budget
from rag.flow.resources import Resources
from rag.flow.run.events import Done, Event, Waiting
from rag.flow.run.inputs import Takes, initial_state
from rag.flow.run.record import RunRecord
from rag.flow.run.recorder import Recorder
from rag.flow.run.run import Journal, Run, Runner, Spent, Trail
from rag.flow.run.runtime import RUNTIME
from rag.flow.run.time_limit import time_limit
from rag.flow.run.tracing import traced_run
from rag.names import suggestion

T = TypeVar("T")


class Runnable(Takes, Protocol):
    """What an execution needs of a flow."""

    name: str | None
    output_types: Mapping[str, Any]
    interrupts: Mapping[str, Mapping[str, Any]]
    steps: Mapping[Place, Operator]
    resources: Resources
    budget: Budget | None
    tracer: Any
    waits: bool
    runner: Runner

    def check_resources(self) -> None:
        """See that what the steps take can be opened."""


class Execution:
    """A flow with its inputs, to be run once.

    Args:
        flow: What runs.
        inputs: Its channels in the beginning.
        config: Step (its place or, where only one has it, its label) to fields of its
            configuration that differ in this run.
        journal: Stores what steps write; needed where the flow pauses for approval.
        run: The run's id.
        resumed: Whether the journal holds what an earlier attempt wrote.

    Raises:
        InputError: The inputs do not fit, or the flow pauses and nothing stores the run.
        ConfigError: A step or field of `config` is unknown, or its value is wrong; or a
            resource is not there.
        BuildError: Several resources are not there.
    """

    def __init__(
        self,
        flow: Runnable,
        inputs: Mapping[str, Any],
        *,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        journal: Journal | None = None,
        run: str | None = None,
        resumed: bool = False,
    ) -> None:
        if flow.interrupts and journal is None:
            raise InputError(
                "the flow pauses for approval, and nothing would store the run",
                where=next(iter(flow.interrupts)),
                fix="run it with a checkpoint: rag run --checkpoint, or Checkpoints.start",
            )
        self.flow, self.journal = flow, journal
        self.state = initial_state(flow, inputs)
        self.config = configured(flow, config) if config else None
        flow.check_resources()
        self.id = run or os.urandom(8).hex()
        self.spent = Spent(flow.budget)
        self._trail = Trail() if resumed else None
        self.record = RunRecord(self.id, flow.name, dict(self.state))

    async def _once(
        self, emit: Callable[[Event], None] | None = None, *, inline: bool = False
    ) -> dict[str, Any]:
        if emit is None:
            return await self._run(None, inline=inline)
        started = perf_counter()
        try:
            return await self._run(emit, inline=inline)
        except Exception as error:
            self.record.error = error
            self._finish(perf_counter() - started, None, {})
            raise

    async def _run(self, emit: Callable[[Event], None] | None, *, inline: bool) -> dict[str, Any]:
        flow, started = self.flow, perf_counter()
        run = Run(
            self.id,
            flow.resources,
            self.spent,
            emit,
            self.journal,
            flow.tracer,
            self.config,
            inline,
            trail=self._trail,
        )
        try:
            if flow.tracer is None:
                wrote = await self._within_budget(run)
            else:
                wrote = await traced_run(flow, self.state, lambda: self._within_budget(run))
        except Interrupted as pause:
            for stop in pause.stops:
                if emit is not None:
                    where, message = stop.place, stop.message
                    emit(
                        Waiting(
                            place=where,
                            run=self.id,
                            time=time(),
                            message=message,
                            channels=stop.channels,
                        )
                    )
            raise
        end = {**self.state, **wrote}
        result = {name: end[name] for name in flow.output_types if name in end}
        if emit is not None:
            seconds, spent = perf_counter() - started, self.spent
            self._finish(seconds, result, end)
            emit(
                Done(
                    place=Place(),
                    run=self.id,
                    time=time(),
                    result=result,
                    seconds=seconds,
                    llm_calls=spent.llm_calls,
                    tokens=spent.tokens,
                    record=self.record,
                )
            )
        return result

    def _finish(
        self, seconds: float, result: dict[str, Any] | None, end: Mapping[str, Any]
    ) -> None:
        record = self.record
        record.seconds, record.outputs = seconds, result
        record.llm_calls, record.tokens = self.spent.llm_calls, self.spent.tokens
        record.channels = {**record.inputs, **record.channels, **end}

    async def _within_budget(self, run: Run) -> dict[str, Any]:
        flow = self.flow
        if flow.budget is None:
            return await flow.runner(self.state, run)
        async with time_limit(flow.budget, "budget", "the run took longer than its budget"):
            return await flow.runner(self.state, run)

    # For each kind of caller

    def invoke(self) -> dict[str, Any]:
        """The outputs."""
        if self._needs_loop:
            return RUNTIME.run(self._once())
        return _straight(self._once(inline=True))

    @property
    def _needs_loop(self) -> bool:
        return self.flow.waits or self.journal is not None

    async def ainvoke(self) -> dict[str, Any]:
        """The outputs."""
        return await self._once()

    def recorded(self) -> RunRecord:
        """The record of the run, also of one that failed."""
        recorder = Recorder(self.record)
        with suppress(Exception):  # the record has it
            if self._needs_loop:
                RUNTIME.run(self._once(recorder))
            else:
                _straight(self._once(recorder, inline=True))
        return self.record

    async def astream(self) -> AsyncGenerator[Event, None]:
        """The events as they come; closing the iterator cancels the run."""
        # A queue costs two coroutines an event; this costs one wake-up for all that are there.
        events: deque[Event | None] = deque()
        filled = asyncio.Event()
        loop, here = asyncio.get_running_loop(), threading.get_ident()
        recorder = Recorder(self.record)

        def put(event: Event | None) -> None:
            events.append(event)
            filled.set()

        def emit(event: Event) -> None:
            recorder(event)
            if threading.get_ident() == here:
                put(event)
            else:
                loop.call_soon_threadsafe(put, event)

        task = asyncio.create_task(self._once(emit))
        task.add_done_callback(lambda _: loop.call_soon(put, None))
        try:
            while True:
                while not events:
                    filled.clear()
                    await filled.wait()
                if (event := events.popleft()) is None:
                    break
                yield event
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def stream(self) -> Iterator[Event]:
        """The events as they come; closing the iterator cancels the run and waits for its end."""
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        recorder = Recorder(self.record)

        def emit(event: Event) -> None:
            recorder(event)
            events.put(event)

        # Submitted here and not in the generator: the run sees the context variables of the
        # caller, not of whoever reads first.
        submitted = RUNTIME.submit(self._once(emit))
        submitted.when_ended(lambda: events.put(None))

        def read() -> Iterator[Event]:
            try:
                while (event := events.get()) is not None:
                    yield event
                submitted.result()
            finally:
                submitted.cancel()

        return read()


def configured(flow: Runnable, config: Mapping[str, Mapping[str, Any]]) -> dict[Place, Operator]:
    """Place to the operator that runs there in this run.

    Raises:
        ConfigError: A step or a field is unknown, or a value is wrong.
    """
    changed: dict[Place, Operator] = {}
    for key, fields in config.items():
        place = step_at(flow, key)
        step = flow.steps[place]
        known = [name for name in type(step).model_fields if name not in PLACEMENT]
        for wrong in fields.keys() - set(known):
            what = f"{step.use} has no field {wrong!r} that a run may set"
            raise ConfigError(what, where=str(place), fix=suggestion(wrong, known))
        given = {name: getattr(step, name) for name in type(step).model_fields}
        try:
            changed[place] = type(step)(**{**given, **fields})
        except RagError as error:
            raise ConfigError(error.what, where=str(place), fix=error.fix) from error
    return changed


def step_at(flow: Runnable, key: str) -> Place:
    """The step that a key names: its place as text or, where only one has it, its label.

    Raises:
        ConfigError: None has it, or several.
    """
    place = Place.parse(key)
    if place in flow.steps:
        return place
    found = [where for where, step in flow.steps.items() if step.label == key]
    if len(found) == 1:
        return found[0]
    places = [str(where) for where in flow.steps]
    if found:
        what = f"{len(found)} steps are called {key!r}"
        raise ConfigError(what, where="config", fix=f"write one of: {', '.join(map(str, found))}")
    labels = [step.label for step in flow.steps.values()]
    fix = suggestion(key, [*places, *labels], label="there are")
    raise ConfigError(f"the flow has no step {key!r}", where="config", fix=fix)


def _straight(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, without the price of an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a step that was not to wait did")
