"""Running branches concurrently: all of them, as many as are needed, or the first good one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rag.errors import Interrupted, StepError
from rag.flow.place import Place, segment
from rag.flow.run.events import BranchFailed, BranchSkipped
from rag.flow.run.run import Run, Runner, State

Ends = list[tuple[str, dict[str, Any]]]
"""Branch name to what it wrote, of those that ended well, in the order of the branches."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch, ready to run."""

    name: str
    runner: Runner
    state: State
    run: Run


async def run_branches(
    place: Place,
    branches: list[Branch],
    run: Run,
    *,
    waits: bool,
    limit: int | None = None,
    skip: bool = False,
    quorum: int | None = None,
) -> Ends:
    """Run branches, each on its own view of the run.

    Args:
        place: The static place of the node.
        branches: What runs.
        run: The run.
        waits: Whether any may wait; if none does, tasks would only cost.
        limit: At most so many at a time.
        skip: Leave out those that fail, unless all do; else the first failure cancels the rest.
        quorum: So many good ends are enough; the others are cancelled.

    Raises:
        StepError: A branch failed, or all of them.
        Interrupted: Branches pause for approval; their siblings have run to their ends.
    """
    if run.trail is not None:
        branches = [replace(branch, run=branch.run.apart()) for branch in branches]
    branches = await _enough_before(place, branches, run, quorum)
    failures: dict[str, StepError] = {}
    ends: dict[str, dict[str, Any]] = {}
    stops: list[Interrupted] = []
    gate = asyncio.Semaphore(limit) if limit and waits else contextlib.nullcontext()

    async def one(branch: Branch) -> None:
        try:
            async with gate:
                ends[branch.name] = await _end(place, branch, skip)
        except Interrupted as stop:
            stops.append(stop)
        except StepError as error:
            if not skip:
                raise
            failures[branch.name] = error
            run.notify(BranchFailed, place, branch=branch.name, error=error)

    if waits:
        await _concurrently(
            [(branch.name, one(branch)) for branch in branches],
            lambda: quorum is not None and len(ends) >= quorum,
            lambda name: run.notify(BranchSkipped, place, branch=name),
        )
    else:
        for branch in branches:
            if quorum is None or len(ends) < quorum:
                await one(branch)
            else:
                run.notify(BranchSkipped, place, branch=branch.name)
    enough = quorum is not None and len(ends) >= quorum
    if stops and not enough:
        raise Interrupted([one for stop in stops for one in stop.stops])
    if failures and not enough and (quorum is not None or not ends):
        raise _together(failures, run.at(place))
    await _record_enough(place, list(ends), run, quorum)
    ended = {*ends, *failures}
    _note_fresh(run, [branch for branch in branches if branch.name in ended])
    return [(branch.name, ends[branch.name]) for branch in branches if branch.name in ends]


def _note_fresh(run: Run, ended: list[Branch]) -> None:
    """Of a resumed run: whether a branch ran, and was not recalled or cancelled."""
    if run.trail is not None:
        run.trail.fresh |= any(b.run.trail is not None and b.run.trail.fresh for b in ended)


async def _record_enough(place: Place, names: list[str], run: Run, quorum: int | None) -> None:
    if run.journal is not None and quorum is not None:
        where = run.at(place).below(".quorum")
        await run.journal.record(where, _ENOUGH, {"names": names}, 0.0, "")


async def _end(place: Place, branch: Branch, skip: bool) -> dict[str, Any]:
    """Run a branch; a resumed run leaves out what it left out before."""
    run = branch.run
    if not skip or run.journal is None:
        return dict(await branch.runner(branch.state, run))
    where = run.at(place).below(segment(branch.name), ".failed")
    fresh = run.trail is not None and run.trail.fresh
    found = None if fresh else await run.journal.recall(where, _FAILED, "")
    if found is not None:
        raise StepError(found["what"], where=found["where"])
    try:
        return dict(await branch.runner(branch.state, run))
    except StepError as error:
        kept = {"what": error.what, "where": error.where}
        await run.journal.record(where, _FAILED, kept, 0.0, "")
        raise


async def _enough_before(
    place: Place, branches: list[Branch], run: Run, quorum: int | None
) -> list[Branch]:
    """The branches; of a resumed run those only that were enough before."""
    if quorum is None or run.journal is None or (run.trail is not None and run.trail.fresh):
        return branches
    found = await run.journal.recall(run.at(place).below(".quorum"), _ENOUGH, "")
    enough = [b for b in branches if found is not None and b.name in found["names"]]
    return enough or branches


_ENOUGH: dict[str, Any] = {"names": list[str]}
_FAILED: dict[str, Any] = {"what": str, "where": str | None}


async def _concurrently(
    work: list[tuple[str, Any]], enough: Callable[[], bool], dropped: Callable[[str], None]
) -> None:
    """Run coroutines as tasks; the first error, or enough results, cancels the others."""
    tasks = [asyncio.ensure_future(coroutine) for _, coroutine in work]
    order = {task: number for number, task in enumerate(tasks)}
    ended: list[asyncio.Future[Any]] = []
    wake = asyncio.Event()

    def end(task: asyncio.Future[Any]) -> None:
        ended.append(task)
        wake.set()

    # asyncio.wait looks at every task that still runs each time that one ends.
    for task in tasks:
        task.add_done_callback(end)
    left = len(tasks)
    try:
        while left:
            await wake.wait()
            wake.clear()
            done = sorted(ended, key=order.__getitem__)
            ended.clear()
            left -= len(done)
            failed = [task for task in done if task.exception() is not None]
            if failed:
                error = failed[0].exception()
                assert error is not None  # noqa: S101 - asked above
                for other in failed[1:]:
                    error.add_note(f"another branch failed too: {other.exception()}")
                raise error
            if left and enough():
                for task, (name, _) in zip(tasks, work, strict=True):
                    if not task.done():
                        dropped(name)
                return
    finally:
        if left:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _together(failures: dict[str, StepError], where: Place) -> StepError:
    """The first failure, which names the others."""
    first, *others = failures.values()
    for other in others:
        first.add_note(f"another branch of {where} failed too: {other}")
    return first
