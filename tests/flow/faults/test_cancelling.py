"""Stored runs that are cancelled at a random event, in four ways, and taken up again."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rag import Checkpoints, Flow, Loop, Map, Parallel, RunContext, operator
from rag.flow.memory.stored_run import CheckpointedRun
from rag.flow.run.events import NodeStarted, Reused
from rag.flow.run.threads import STORES, THREADS
from tests.flow.bricks import named, total

PATIENCE = 30.0
SEEDS = range(15)


class Steps:
    """A flow whose steps can be counted, and watched as they begin."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.watch: Callable[[int], None] = lambda _: None
        self._lock = threading.Lock()

        def begins(ctx: RunContext) -> None:
            with self._lock:
                self.begun[str(ctx.place)] += 1
                self.watch(self.begun.total())

        @operator(writes="x")
        def plain(x: int, *, by: int = 1, ctx: RunContext) -> int:
            begins(ctx)
            return x + by

        @operator(writes="x")
        async def waiting(x: int, *, by: int = 2, ctx: RunContext) -> int:
            begins(ctx)
            await asyncio.sleep(0)
            return x * by

        @operator(writes="xs")
        def spread(x: int, *, ctx: RunContext) -> list[int]:
            begins(ctx)
            return [x, x + 1]

        both = Parallel(p=plain(by=3) >> waiting(), q=waiting(by=3) >> plain(), join=total())
        items = Map(over="xs", as_="x", body=both >> plain(inputs={"x": "total"}), join=total())
        turn = spread() >> items >> waiting(inputs={"x": "total"}, by=1)
        ends = Parallel(a=plain(), b=waiting(), join=named())
        self.flow = Flow(Loop(body=turn, max_turns=2) >> ends, inputs={"x": int})


async def broken_off(run: CheckpointedRun, after: int, steps: Steps) -> None:
    """Close the stream behind an event."""
    events = run.astream()
    async for _ in events:
        after -= 1
        if after <= 0:
            break
    await events.aclose()  # type: ignore[attr-defined]


async def cancelled_reader(run: CheckpointedRun, after: int, steps: Steps) -> None:
    """Cancel the task that reads the stream, behind an event."""

    async def read(left: int) -> None:
        async for _ in run.astream():
            left -= 1
            if left <= 0:
                reading.cancel()

    reading = asyncio.ensure_future(read(after))
    await asyncio.wait([reading])


async def cancelled_call(run: CheckpointedRun, after: int, steps: Steps) -> None:
    """Cancel the task that waits for the result, when a step begins."""
    loop, begun = asyncio.get_running_loop(), steps.begun.total()
    calling = asyncio.ensure_future(run.ainvoke())

    def watch(count: int) -> None:
        if count - begun >= after / 2:
            loop.call_soon_threadsafe(calling.cancel)

    steps.watch = watch
    await asyncio.wait([calling])
    steps.watch = lambda _: None


async def broken_off_synchronously(run: CheckpointedRun, after: int, steps: Steps) -> None:
    """Close the synchronous stream behind an event."""
    events = run.stream()
    for _ in events:
        after -= 1
        if after <= 0:
            break
    events.close()  # type: ignore[attr-defined]


WAYS = (broken_off, cancelled_reader, cancelled_call, broken_off_synchronously)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_cancelled_run_leaves_nothing_behind_and_is_taken_up(where: str, way: Any) -> None:
    steps = Steps()
    undisturbed = steps.flow.invoke(x=1)
    events = len(list(steps.flow.stream(x=1)))
    cut = 0

    async def cancel(checkpoints: Checkpoints, run: CheckpointedRun, after: int) -> None:
        await way(run, after, steps)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert run.id in {one.id for one in checkpoints.runs()}

    with Checkpoints(where) as checkpoints:
        for seed in SEEDS:
            chance = random.Random(seed)  # noqa: S311
            steps.begun.clear()
            run = checkpoints.start(steps.flow, x=1)
            asyncio.run(cancel(checkpoints, run, chance.randint(1, events)))
            cut += checkpoints.get(run.id).status == "running"
            stored = {str(step.place) for step in checkpoints.steps(run.id)}
            finished = {place: steps.begun[place] for place in stored}
            again = list(checkpoints.resume(steps.flow, run.id).stream())
            assert again[-1].result == undisturbed
            assert {place: steps.begun[place] for place in stored} == finished
            assert {str(e.place) for e in again if isinstance(e, Reused)} == stored
            ran = {str(event.place) for event in again if isinstance(event, NodeStarted)}
            assert ran == {str(step.place) for step in checkpoints.steps(run.id)} - stored
            assert checkpoints.get(run.id).status == "done"
    assert cut > len(SEEDS) // 2
    for pool in (THREADS, STORES):
        with pool._changed:
            assert pool._changed.wait_for(lambda pool=pool: pool._idle == pool._threads, PATIENCE)
            assert pool._replaced == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "rag-lease"]
