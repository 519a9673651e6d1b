"""What a run may do around every step: trace it, remember what it wrote, take it from a cache."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from rag.flow.memory.step_cache import StepCache, key_of
from rag.flow.operator import Operator
from rag.flow.run.events import Reused
from rag.flow.run.run import Run, Runner, State
from rag.flow.run.tracing import step_span


def watched(
    runner: Runner,
    node: Operator,
    reads: list[tuple[str, str]],
    writes: Mapping[str, Any],
    path: str,
) -> Runner:
    """The runner of a step, policies included, seen by the run's journal, tracer and cache.

    Args:
        runner: Writes to the state only when it succeeds.
        node: The step.
        reads: Pairs (parameter, channel).
        writes: Channel to type.
        path: The step's.
    """
    watch = _Watch(runner, node, reads, writes, path)
    if node.cache is not None:
        return watch

    def run_plain_or_watched(state: State, run: Run) -> Awaitable[None]:
        # Not async itself: a run that nobody watches pays no second coroutine per step.
        if run.journal is None and run.tracer is None:
            return runner(state, run)
        return watch(state, run)

    return run_plain_or_watched


@dataclass(frozen=True)
class _Watch:
    runner: Runner
    node: Operator
    reads: list[tuple[str, str]]
    writes: Mapping[str, Any]
    path: str

    async def __call__(self, state: State, run: Run) -> None:
        journal = run.journal
        if journal is None:
            await self._through_cache(state, run)
            return
        place = run.place + self.path
        found = journal.recall(place, self.writes)
        if found is not None:
            self._take(state, run, found, "checkpoint")
            return
        started = perf_counter()
        await self._through_cache(state, run)
        journal.record(place, self.writes, self._wrote(state), perf_counter() - started)

    async def _through_cache(self, state: State, run: Run) -> None:
        if self.node.cache is None:
            await self._compute(state, run)
            return
        cache = await run.resource(StepCache.name, StepCache)
        key = await key_of(self.node, self._arguments(state), run)
        found = cache.get(key, self.writes)
        if found is None:
            await self._compute(state, run)
            cache.put(key, self.writes, self._wrote(state), self.node.cache.ttl)
        else:
            self._take(state, run, found, "cache")

    async def _compute(self, state: State, run: Run) -> None:
        if run.tracer is None:
            await self.runner(state, run)
            return
        with step_span(run.tracer, self.node, self.path) as span:
            span.reads(self._arguments(state))
            await self.runner(state, run)
            span.wrote(self._wrote(state))

    def _take(self, state: State, run: Run, found: dict[str, Any], source: str) -> None:
        state.update(found)
        if run.emit is not None:
            run.emit(Reused(self.path, found, source))

    def _arguments(self, state: State) -> dict[str, Any]:
        return {name: state[channel] for name, channel in self.reads if channel in state}

    def _wrote(self, state: State) -> dict[str, Any]:
        return {name: state[name] for name in self.writes}
