"""Many branches, turns, runs and levels: what they cost grows with their number, no faster."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from typing import Any, ClassVar

from rag.flow import Flow, Loop, Operator, Resources, RunContext, operator
from rag.flow.compile.branches import Branch, run_branches
from rag.flow.place import Place
from rag.flow.run.run import Run, Spent
from rag.flow.run.threads import LIMIT
from rag.flow.signature import Signature
from tests.flow.bricks import inc

INT = {"x": int}


@operator(writes="x", light=True)
def next_of(x: int) -> int:
    """Count."""
    return x + 1


class Colliding(str):
    """A name that a dict or set compares with all that it holds, and that counts it."""

    compared = 0

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        Colliding.compared += 1
        return super().__eq__(other)


async def together(count: int, *, waits: bool) -> None:
    """Run so many branches, of which each ends before the one before it."""
    ended = [asyncio.Event() for _ in range(count + 1)]
    ended[0].set()

    def body(number: int) -> Any:
        async def run(state: Any, run: Run) -> dict[str, Any]:
            if waits:
                await ended[count - number - 1].wait()
            ended[count - number].set()
            return {}

        return run

    run = Run("1", Resources(), Spent())
    branches = [Branch(Colliding(number), body(number), {}, run) for number in range(count)]
    assert len(await run_branches(Place("here"), branches, run, waits=waits)) == count


def test_a_branch_costs_the_same_however_many_there_are() -> None:
    compared = []
    for count in (8, 32):
        Colliding.compared = 0
        asyncio.run(together(count, waits=False))
        compared.append(Colliding.compared)
    # Each name is compared with each other a number of times: 16 times as often, not 64.
    assert compared[1] <= 24 * compared[0]


def test_the_end_of_a_branch_costs_the_same_however_many_still_run() -> None:
    class Task(asyncio.Task[Any]):
        watched = 0

        def add_done_callback(self, *args: Any, **kwargs: Any) -> None:
            Task.watched += 1
            super().add_done_callback(*args, **kwargs)

    async def watched(count: int) -> int:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro: Task(coro, loop=loop))
        Task.watched = 0
        await together(count, waits=True)
        return Task.watched

    few, many = asyncio.run(watched(10)), asyncio.run(watched(40))
    assert many <= 5 * few


def test_a_loop_in_a_loop_is_not_built_twice_at_every_level() -> None:
    class Step(Operator):
        """Counts how often it is built."""

        writes = "x"
        built: ClassVar[int] = 0

        @classmethod
        def signature(cls) -> Signature:
            Step.built += 1
            return super().signature()

        def run(self, x: int) -> int:
            return x + 1

    def builds(levels: int) -> int:
        node: Any = Step()
        for level in range(levels):
            node = Loop(body=node, max_turns=1)
            if level % 2:
                node = Flow(node, inputs=INT)
        Step.built = 0
        assert Flow(node, inputs=INT).invoke(x=0) == {"x": 1}
        return Step.built

    assert builds(12) <= 4 * builds(2)


def test_turns_leave_nothing_in_memory() -> None:
    def peak(turns: int) -> int:
        flow = Flow(Loop(body=next_of(), max_turns=turns), inputs=INT)
        tracemalloc.start()
        assert flow.invoke(x=0) == {"x": turns}
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(10_000) < peak(1_000) + 20_000


def test_a_thousand_runs_of_ten_steps_share_the_threads() -> None:
    @operator(writes="threads")
    def blocking(x: int, *, ctx: RunContext) -> int:
        time.sleep(0.0005)
        return sum(thread.name == "rag-step" for thread in threading.enumerate())

    flow = Flow(next_of() >> next_of() >> next_of() >> next_of() >> blocking() >> next_of()
                >> next_of() >> next_of() >> next_of() >> next_of(), inputs=INT)  # fmt: skip

    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.gather(*(flow.ainvoke(x=number) for number in range(1000)))

    before = sum(thread.name == "rag-step" for thread in threading.enumerate())
    results = asyncio.run(all_of_them())
    assert [result["x"] for result in results] == [number + 9 for number in range(1000)]
    assert max(result["threads"] for result in results) <= max(LIMIT, before)


def test_a_loop_whose_turns_widen_a_type_is_built_as_before() -> None:
    @operator(writes="y")
    def widen(x: int, y: Any = None) -> list[int]:
        return [*(y or []), x]

    node = Loop(body=Loop(body=widen() >> inc(), max_turns=2), max_turns=2)
    assert Flow(node, inputs=INT).invoke(x=0) == {"x": 4, "y": [0, 1, 2, 3]}
