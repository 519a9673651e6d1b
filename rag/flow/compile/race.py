"""Compiling races: the first good result of several branches."""

from __future__ import annotations

import asyncio
from typing import Any

from rag.errors import StepError
from rag.flow.compile.builder import Builder, Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs.race import Race
from rag.flow.place import Place, segment
from rag.flow.run.events import BranchFailed, BranchSkipped
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope, written_after_one_of


def build_race(builder: Builder, node: Race, scope: Scope, place: Place) -> Built:
    """Branches at the same time; the first that satisfies the condition wins."""
    branches = {
        name: builder.child(node, place, segment(name), scope) for name in node.branches
    }
    writes = written_after_one_of({n: b.writes for n, b in branches.items()}, str(place))
    reads = frozenset().union(*(built.reads for built in branches.values()))
    until = None
    if node.until is not None:
        until = builder.expression(node, node.until, scope.after(writes), place, "until")
        reads |= (until.names if until else frozenset()) - set(writes)
    if node.winner is not None:
        writes[node.winner] = Channel(str, str(place))
    runners = {name: built.run for name, built in branches.items()}

    async def run_race(state: State, run: Run) -> dict[str, Any]:
        tasks = {
            asyncio.ensure_future(runner(state, run)): name for name, runner in runners.items()
        }
        failures: list[StepError] = []
        pending = set(tasks)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in tasks if task in done]:
                    name, error = tasks[task], task.exception()
                    if isinstance(error, StepError):
                        failures.append(error)
                        run.tell(BranchFailed, place, branch=name, error=error)
                    elif error is not None:
                        raise error
                    elif until is None or evaluate(until, {**state, **task.result()}, run, place):
                        for loser in pending:
                            run.tell(BranchSkipped, place, branch=tasks[loser])
                        won = {node.winner: name} if node.winner is not None else {}
                        return {**task.result(), **won}
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.gather(*pending, return_exceptions=True)
        if len(failures) == len(runners):
            raise failures[0]
        where = run.at(place)
        what = f"no branch satisfies {node.until!r}"
        fix = "add a branch that always does, or a fallback"
        raise StepError(what, where=str(where), fix=fix, place=where)

    removed = {n: w for built in branches.values() for n, w in built.removed.items()}
    return Built(run_race, writes, reads, removed, waits=True)
