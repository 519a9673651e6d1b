"""What the nodes of one run share, and where in the run one is."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Protocol

from rag.errors import BudgetError
from rag.flow.place import DEPTH, Place
from rag.flow.policies import Budget
from rag.flow.resources import R, Resources
from rag.flow.run.events import Event, Warned
from rag.flow.run.threads import THREADS, Job

State = Mapping[str, Any]
"""Channel to value, as one branch sees them. Nobody changes a state: nodes return writes."""

Runner = Callable[[State, "Run"], Awaitable[dict[str, Any]]]
"""What a node is compiled to: reads the state, returns the channels that it writes."""


@dataclass(frozen=True, slots=True)
class Left:
    """What the budgets of a step, and of all around it, still allow; None: there is no limit."""

    llm_calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None


class Spent:
    """What a run, or a part of it under a budget of its own, has used; safe from any thread.

    Args:
        budget: What it may use.
        outer: What this counts towards as well.
    """

    def __init__(self, budget: Budget | None = None, outer: Spent | None = None) -> None:
        self._budget, self._outer = budget, outer
        self._lock = threading.Lock()
        self._started = monotonic()
        self.llm_calls = 0
        self.tokens = 0

    def left(self) -> Left:
        """What is still allowed, by this budget and those around it."""
        outer = Left() if self._outer is None else self._outer.left()
        budget = self._budget or Budget()
        used = {
            "llm_calls": self.llm_calls,
            "tokens": self.tokens,
            "seconds": monotonic() - self._started,
        }
        found: dict[str, Any] = {}
        for name, amount in used.items():
            limit = getattr(budget, name)
            allowed = [] if limit is None else [max(limit - amount, 0)]
            if (around := getattr(outer, name)) is not None:
                allowed.append(around)
            found[name] = min(allowed, default=None)
        return Left(**found)

    def add(self, llm_calls: int, tokens: int) -> None:
        """Count.

        Raises:
            BudgetError: More was used than the budget allows.
        """
        with self._lock:
            self.llm_calls += llm_calls
            self.tokens += tokens
        if self._outer is not None:
            self._outer.add(llm_calls, tokens)
        budget = self._budget
        if budget is None:
            return
        for name, used, limit in (
            ("llm_calls", self.llm_calls, budget.llm_calls),
            ("tokens", self.tokens, budget.tokens),
        ):
            if limit is not None and used > limit:
                raise BudgetError(
                    f"{used} {name} were used, the budget is {limit}",
                    where="budget",
                    fix=f"raise budget: {{{name}: ...}}, or make the flow do less",
                )


class Journal(Protocol):
    """Stores what the steps of a run wrote, so that the run can go on after a crash."""

    async def recall(
        self, place: Place, kinds: Mapping[str, Any], fingerprint: str
    ) -> dict[str, Any] | None:
        """What was written at `place` by a step with this fingerprint: channel to value."""

    async def record(
        self,
        place: Place,
        kinds: Mapping[str, Any],
        wrote: Mapping[str, Any],
        seconds: float,
        fingerprint: str,
    ) -> None:
        """Store what was written at `place`, durably, before anything builds on it."""


@dataclass(slots=True)
class Trail:
    """Whether, on the way to a node of a resumed run, something ran that was not recalled."""

    fresh: bool = False


@dataclass
class Run:
    """What the nodes of one run share. Nothing of it outlives the run.

    Args:
        id: The run's id.
        resources: The flow's resources.
        spent: Counts what the run uses.
        emit: Takes each event, from any thread; None: nobody listens, no event is made.
        journal: Stores what steps wrote.
        tracer: An OpenTelemetry tracer.
        config: Place of a step to the operator that runs there in this run instead.
        inline: Whether plain functions run where they are called: no event loop is held up.
        counts: Which items, turns: index of a segment to its mark and number.
        prefix: The occurrence of the recursion that one is in.
        depth: How often the flow is nested in itself here.
        jobs: Takes the jobs in threads that an attempt starts.
        trail: Of a resumed run: whether what was recorded still counts here.
        recalls: Inside a step: whether what was recorded of its inside still counts.
    """

    id: str
    resources: Resources
    spent: Spent
    emit: Callable[[Event], None] | None = None
    journal: Journal | None = None
    tracer: Any = None
    config: Mapping[Place, Any] | None = None
    inline: bool = False
    counts: tuple[tuple[int, str], ...] = ()
    prefix: Place = Place()
    depth: int = 0
    jobs: list[Job] | None = None
    trail: Trail | None = None
    recalls: bool = True

    def view(self, **changes: Any) -> Run:
        """The same run seen from another point of it."""
        other = object.__new__(Run)
        other.__dict__ = {**self.__dict__, **changes}
        return other

    def apart(self) -> Run:
        """The run seen from a branch, which finds by itself where its recorded writes end."""
        return self if self.trail is None else self.view(trail=Trail(fresh=self.trail.fresh))

    def at(self, place: Place) -> Place:
        """The occurrence of the node at a static place that runs at this point."""
        if not self.counts and not self.prefix:
            return place
        segments = list(place)
        for index, mark in self.counts:
            segments[index] += mark
        return Place((*self.prefix, *segments))

    def counted(self, place: Place, mark: str, number: int) -> Run:
        """The run seen from item or turn `number` of the construct at a static place."""
        other = object.__new__(Run)  # as `view`, at half its cost: a loop does it each turn
        other.__dict__ = fields = self.__dict__.copy()
        fields["counts"] = (*self.counts, (len(place) - 1, f"{mark}{number}"))
        return other

    def deeper(self, place: Place) -> Run:
        """The run seen from a flow that is nested in itself once more, at `place`."""
        depth = self.depth + 1
        return self.view(prefix=self.at(place).counted(DEPTH, depth), counts=(), depth=depth)

    def heard_by(self, listener: Callable[[Event], None]) -> Run:
        """The run, its events going to `listener` too."""
        outer = self.emit

        def emit(event: Event) -> None:
            listener(event)
            if outer is not None:
                outer(event)

        return self.view(emit=emit)

    def notify(self, kind: type[Event], place: Place, **fields: Any) -> None:
        """Emit an event about the node at a static place, if anybody listens."""
        if self.emit is not None:
            self.emit(kind(place=self.at(place), run=self.id, time=time(), **fields))

    def warn(self, place: Place, message: str) -> None:
        """Emit a warning about the node at a static place."""
        self.notify(Warned, place, message=message)

    async def resource(self, name: str, kind: type[R]) -> R:
        """The resource; opening it, which may take seconds, does not hold up other branches."""
        if self.inline or self.resources.is_open(name, kind):
            return self.resources.get(name, kind)
        opened: R = await THREADS.call(lambda: self.resources.get(name, kind))
        return opened

    async def in_thread(
        self, function: Callable[[], Any], started: Callable[[Job], None] | None = None
    ) -> Any:
        """The result of a function that may take long, called in a thread of the pool."""
        if started is None and self.jobs is not None:
            started = self.jobs.append
        return await THREADS.call(function, started)
