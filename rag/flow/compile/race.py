"""Compiling races: the first good result of several branches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from rag.errors import Interrupted, StepError, Stop
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs.race import Race
from rag.flow.expressions import Expression
from rag.flow.place import Place
from rag.flow.run.events import BranchFailed, BranchSkipped
from rag.flow.run.run import Run, Runner, State
from rag.flow.scope import Channel, Scope, written_after_one_of


def build_race(builder: Builder, node: Race, scope: Scope, place: Place) -> Built:
    """Branches at the same time; the first that satisfies the condition wins."""
    branches = builder.branches(node, place, node.branches, scope)
    writes = written_after_one_of({n: b.writes for n, b in branches.items()}, str(place))
    reads = frozenset().union(*(built.reads for built in branches.values()))
    until = None
    if node.until is not None:
        until = builder.expression(node, node.until, scope.after(writes), place, "until")
        reads |= (until.names if until else frozenset()) - set(writes)
    if node.winner is not None:
        writes[node.winner] = Channel(str, str(place))
    runners = {name: built.run for name, built in branches.items()}

    removed = {n: w for built in branches.values() for n, w in built.removed.items()}
    return Built(_Race(node, runners, until, place), writes, reads, removed, waits=True)


class _Race:
    """The runner of a race."""

    def __init__(
        self, node: Race, runners: Mapping[str, Runner], until: Expression | None, place: Place
    ) -> None:
        self._node, self._runners, self._until, self._place = node, runners, until, place

    async def __call__(self, state: State, run: Run) -> dict[str, Any]:
        name, result, view = await self._recalled(state, run) or await self._first(state, run)
        if run.trail is not None and view.trail is not None and view.trail.fresh:
            run.trail.fresh = True
        return result if self._node.winner is None else {**result, self._node.winner: name}

    async def _recalled(self, state: State, run: Run) -> _Won | None:
        """What won before: its losers are not run again when the run is resumed."""
        if run.journal is None or (run.trail is not None and run.trail.fresh):
            return None
        found = await run.journal.recall(run.at(self._place).below(".winner"), _WINNER, "")
        if found is None or found["winner"] not in self._runners:
            return None
        name, view = found["winner"], run.apart()
        result = await self._runners[name](state, view)
        return (name, result, view) if self._is_good(result, state, run) else None

    async def _first(self, state: State, run: Run) -> _Won:
        place, failures, stops = self._place, list[StepError](), list[Stop]()
        views = {name: run.apart() for name in self._runners}
        tasks = {
            asyncio.create_task(_call(runner, state, views[name])): name
            for name, runner in self._runners.items()
        }
        try:
            async for name, result in _as_they_end(tasks):
                if isinstance(result, Interrupted):
                    stops += result.stops
                elif isinstance(result, StepError):
                    failures.append(result)
                    run.notify(BranchFailed, place, branch=name, error=result)
                elif self._is_good(result, state, run):
                    for task, loser in tasks.items():
                        if not task.done():
                            run.notify(BranchSkipped, place, branch=loser)
                    if run.journal is not None:
                        where = run.at(place).below(".winner")
                        await run.journal.record(where, _WINNER, {"winner": name}, 0.0, "")
                    return name, result, views[name]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if stops:  # what a person answers may make a branch good
            raise Interrupted(stops)
        if len(failures) == len(tasks):
            raise failures[0]
        where = run.at(place)
        what = f"no branch satisfies {self._node.until!r}"
        fix = "add a branch that always does, or a fallback"
        raise StepError(what, where=str(where), fix=fix, place=where)

    def _is_good(self, wrote: dict[str, Any], state: State, run: Run) -> bool:
        until = self._until
        return until is None or bool(evaluate(until, {**state, **wrote}, run, self._place))


_Won = tuple[str, dict[str, Any], Run]
"""The branch that won, what it wrote, and its view of the run."""

_WINNER: dict[str, Any] = {"winner": str}


async def _as_they_end(
    tasks: Mapping[asyncio.Task[dict[str, Any]], str],
) -> AsyncIterator[tuple[str, Any]]:
    """Name and result, StepError or pause of each task as it ends; other errors are raised."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task, name in tasks.items():
            if task in done:
                error = task.exception()
                if error is not None and not isinstance(error, StepError | Interrupted):
                    raise error
                yield name, error or task.result()


async def _call(runner: Runner, state: State, run: Run) -> dict[str, Any]:
    return await runner(state, run)
