"""Compiling races: the first good result of several branches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from rag.errors import StepError
from rag.flow.compile.builder import Builder, Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs.race import Race
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

    def good(wrote: dict[str, Any], state: State, run: Run) -> bool:
        return until is None or bool(evaluate(until, {**state, **wrote}, run, place))

    async def run_race(state: State, run: Run) -> dict[str, Any]:
        tasks = {
            asyncio.create_task(_call(runner, state, run)): name for name, runner in runners.items()
        }
        failures: list[StepError] = []
        try:
            async for name, result in _as_they_end(tasks):
                if isinstance(result, StepError):
                    failures.append(result)
                    run.notify(BranchFailed, place, branch=name, error=result)
                elif good(result, state, run):
                    for task, loser in tasks.items():
                        if not task.done():
                            run.notify(BranchSkipped, place, branch=loser)
                    return result if node.winner is None else {**result, node.winner: name}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if len(failures) == len(runners):
            raise failures[0]
        where = run.at(place)
        what = f"no branch satisfies {node.until!r}"
        fix = "add a branch that always does, or a fallback"
        raise StepError(what, where=str(where), fix=fix, place=where)

    removed = {n: w for built in branches.values() for n, w in built.removed.items()}
    return Built(run_race, writes, reads, removed, waits=True)


async def _as_they_end(
    tasks: Mapping[asyncio.Task[dict[str, Any]], str],
) -> AsyncIterator[tuple[str, Any]]:
    """Name and result, or StepError, of each task as it ends; other errors are raised."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task, name in tasks.items():
            if task in done:
                error = task.exception()
                if error is not None and not isinstance(error, StepError):
                    raise error
                yield name, error or task.result()


async def _call(runner: Runner, state: State, run: Run) -> dict[str, Any]:
    return await runner(state, run)
