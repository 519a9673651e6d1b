"""One run that is stored while it goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from rag.errors import InputError, Interrupted, Stop
from rag.flow.flow import Flow
from rag.flow.memory.store import RunStore, StoredRun, Written
from rag.flow.place import Place
from rag.flow.run.events import Event
from rag.flow.run.execution import Execution
from rag.flow.run.inside import kinds_shown
from rag.flow.run.record import RunRecord
from rag.flow.run.threads import STORES
from rag.flow.types import matcher, show
from rag.names import suggestion


class CheckpointedRun:
    """A run that is stored. It is run by one process at a time."""

    def __init__(
        self, store: RunStore, flow: Flow, record: StoredRun, inputs: Mapping[str, Any]
    ) -> None:
        self.id = record.id
        self._store, self._flow, self._stored, self._inputs = store, flow, record, inputs
        self._answers: dict[Place, tuple[Mapping[str, Any], Mapping[str, Any], str]] = {}
        self._written: dict[Place, Written] = {}
        self._next = 0

    @property
    def stops(self) -> list[Stop]:
        """Where the run waits for approval, each with the channels that the person sees."""
        found = []
        for stop in self._stored.stops or ():
            node, shown, question = stop["node"], stop["channels"], stop["question"]
            kinds = {name: Any if question else self._kind(node, name) for name in shown}
            channels = {
                name: self._store.decoded(data, kinds[name]) for name, data in shown.items()
            }
            if question:
                kinds = kinds_shown(channels)
            place = Place.parse(stop["place"])
            found.append(Stop(place, node, stop["message"], channels, kinds, question))
        return found

    def _kind(self, node: str, name: str) -> Any:
        """The type of a channel that is shown: as declared where it may be edited."""
        known = self._flow.interrupts.get(node, {})
        return known.get(name, all_kinds(self._flow).get(name, Any))

    def editable(self, stop: Stop) -> Mapping[str, Any]:
        """The channels that may be set at a stop, each with its type."""
        return stop.kinds if stop.question else self._flow.interrupts.get(stop.node, {})

    def answer(
        self, edits: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Approve what the run waits for, with these changes (see `Checkpoints.resume`).

        Raises:
            InputError: A channel may not be set, or its value is of another type.
        """
        stops = {str(stop.place): stop for stop in self.stops}
        if answers is None:
            if edits and len(stops) > 1:
                fix = f"say which place each change is for; it waits at: {', '.join(stops)}"
                raise InputError("the run waits at several places", where=f"run {self.id}", fix=fix)
            if edits and not stops:
                name = next(iter(edits))
                what, fix = f"the channel {name!r} may not be set", "the run waits for nobody"
                raise InputError(what, where=f"run {self.id}", fix=fix)
            answers = dict.fromkeys(stops, edits)
        for place, changes in answers.items():
            if place not in stops:
                fix = suggestion(place, stops, label="it waits at")
                raise InputError(f"the run does not wait at {place!r}", where=self.id, fix=fix)
            self._answer(stops[place], changes)

    def _answer(self, stop: Stop, edits: Mapping[str, Any]) -> None:
        kinds = self.editable(stop)
        for name, value in edits.items():
            if name not in kinds:
                fix = f"may be set: {', '.join(kinds) or 'nothing'}"
                what = f"the channel {name!r} may not be set"
                raise InputError(what, where=f"run {self.id}", fix=fix)
            check_fits(name, value, kinds[name], self.id)
        shown = {name: stop.channels[name] for name in kinds}
        stored = dict.fromkeys(kinds, Any) if stop.question else kinds
        self._answers[stop.place] = (stored, {**shown, **edits}, stop.question)

    # Journal

    async def recall(
        self, place: Place, kinds: Mapping[str, Any], fingerprint: str
    ) -> dict[str, Any] | None:
        """See `Journal`."""
        found = self._written.get(place)
        if found is None or found.fingerprint != fingerprint:
            return None
        if not found.channels.keys() <= kinds.keys():
            return None

        def values() -> dict[str, Any]:
            return {n: self._store.value(number, kinds[n]) for n, number in found.channels.items()}

        result: dict[str, Any] = await STORES.call(values)
        return result

    async def record(
        self,
        place: Place,
        kinds: Mapping[str, Any],
        wrote: Mapping[str, Any],
        seconds: float,
        fingerprint: str,
    ) -> None:
        """See `Journal`."""
        number, self._next = self._next, self._next + 1
        spent = (self._execution.spent.llm_calls, self._execution.spent.tokens)
        # A write that is begun must be over before somebody else may go on with the run.
        await STORES.call_to_the_end(
            lambda: self._store.record(
                self.id, place, number, kinds, wrote, seconds, fingerprint, spent
            )
        )

    # Running

    def invoke(self) -> dict[str, Any]:
        """The flow's outputs.

        Raises:
            Interrupted: The run waits for approval.
            StepError: A step failed; the run may be resumed.
            BudgetError: The run exceeded its budget.
            CheckpointError: Another process works on the run.
        """
        with self._working():
            return self._execution.invoke()

    async def ainvoke(self) -> dict[str, Any]:
        """`invoke` for asynchronous callers."""
        async with self._aworking():
            return await self._execution.ainvoke()

    def run(self) -> RunRecord:
        """The record of the run, also of one that failed or waits."""
        with self._working() as work:
            record = self._execution.recorded()
            work.error = record.error
            return record

    def stream(self) -> Iterator[Event]:
        """The events; the last is `Done`, or `Waiting` for each place where it waits."""
        with self._working() as work:
            try:
                yield from self._execution.stream()
            except Interrupted as pause:
                work.error = pause

    async def astream(self) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; closing it stops the run, which may be resumed."""
        async with self._aworking() as work:
            events = self._execution.astream()
            try:
                async for event in events:
                    yield event
            except Interrupted as pause:
                work.error = pause
            finally:
                await events.aclose()

    @contextmanager
    def _working(self) -> Iterator[_Work]:
        work = _Work()
        try:
            self._begin(work)
            yield work
            work.is_over = True
        except Exception as error:
            work.error = error
            raise
        finally:
            self._end(work)

    @asynccontextmanager
    async def _aworking(self) -> AsyncIterator[_Work]:
        """`_working`, in a thread: a store that is slow holds up no event loop."""
        work = _Work()
        try:
            await STORES.call_to_the_end(lambda: self._begin(work))
            yield work
            work.is_over = True
        except Exception as error:
            work.error = error
            raise
        finally:
            await STORES.call_to_the_end(lambda: self._end(work))

    def _begin(self, work: _Work) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._store.owned(self.id))
            stored = self._stored
            self._written, self._next = self._store.written(self.id)
            self._execution = Execution(
                self._flow, self._inputs, journal=self, run=self.id, resumed=bool(self._written)
            )
            spent = (stored.llm_calls, stored.tokens)
            for place, (kinds, values, question) in self._answers.items():
                self._store.record(self.id, place, self._next, kinds, values, 0.0, question, spent)
                self._next += 1
            if self._answers:
                self._answers = {}
                self._written, self._next = self._store.written(self.id)
            self._store.update(self.id, status="running", stops=None, error=None, ended=None)
            self._execution.spent.add(*spent)
            work.ownership = stack.pop_all()

    def _end(self, work: _Work) -> None:
        """Store how the run ended; one that was cancelled stays as it is."""
        if work.ownership is None:
            return
        with work.ownership:
            match work.error:
                case Interrupted() as pause:
                    self._wait(pause)
                case Exception() as error:
                    now, why = time.time(), str(error)
                    self._store.update(self.id, status="failed", ended=now, error=why)
                case None if work.is_over:
                    self._store.update(self.id, status="done", ended=time.time(), error=None)
            self._stored = self._store.runs(self.id)[0]

    def _wait(self, pause: Interrupted) -> None:
        stops = [
            {
                "place": str(stop.place),
                "node": stop.node,
                "message": stop.message,
                "channels": {
                    name: self._store.encoded_alone(
                        value, Any if stop.question else stop.kinds[name]
                    )
                    for name, value in stop.channels.items()
                },
                "question": stop.question,
            }
            for stop in pause.stops
        ]
        self._store.update(self.id, status="waiting", stops=stops)


@dataclass
class _Work:
    """One attempt to run a stored run.

    Args:
        ownership: Closed when somebody else may work on the run; None: it never began.
        error: Why it ended, if not well.
        is_over: Whether it came to its end, and was not cancelled.
    """

    ownership: ExitStack | None = None
    error: BaseException | None = None
    is_over: bool = False


def kinds_at(flow: Flow, place: Place) -> dict[str, Any]:
    """Channel to type, of what the node at a place writes."""
    static = place.static
    step = flow.steps.get(static)
    if step is None:
        return dict(flow.interrupts.get(str(static), {}))
    return {step.outputs.get(p.name, p.name): p.type for p in step.signature().writes}


def all_kinds(flow: Flow) -> dict[str, Any]:
    """Channel to type, of all channels that the flow knows."""
    kinds = dict(flow.inputs)
    for place in flow.steps:
        kinds.update(kinds_at(flow, place))
    return kinds


def check_fits(name: str, value: Any, kind: Any, run: str) -> None:
    """See that a value is of a channel's type.

    Raises:
        InputError: It is not.
    """
    if not matcher(kind)(value):
        what = f"{name!r} is {type(value).__name__}, {show(kind)} is wanted"
        raise InputError(what, where=f"run {run}")
