"""One event loop for synchronous callers, threads for plain functions, and what ends in time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from rag.errors import BudgetError, StepError
from rag.flow import Budget, Flow, Loop, Map, Parallel, Resource, Retry, RunContext, operator
from rag.flow.run.threads import LIMIT, Threads
from tests.flow.bricks import inc, nap, total

INT = {"x": int}
PATIENCE = 30.0
"""Seconds after which a test that waits has failed."""


class Client(Resource):
    """As asynchronous clients are: bound to the event loop of its first call."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    async def call(self) -> None:
        """Fail as a connection does that belongs to another event loop."""
        loop = asyncio.get_running_loop()
        self.loop = self.loop or loop
        if self.loop is not loop or self.loop.is_closed():
            raise RuntimeError("Event loop is closed")
        await asyncio.sleep(0)


@operator(writes="x")
async def fetch(x: int, *, client: Client) -> int:
    """Call the client."""
    await client.call()
    return x + 1


# One loop


def test_many_synchronous_calls_share_one_event_loop() -> None:
    flow = Flow(fetch(), inputs=INT, resources={"client": Client()})
    for number in range(10):
        assert flow.invoke(x=number) == {"x": number + 1}
        assert list(flow.stream(x=number))[-1].result == {"x": number + 1}
        assert flow.run(x=number).outputs == {"x": number + 1}
    assert flow.batch([{"x": number} for number in range(5)]) == [{"x": n + 1} for n in range(5)]


def test_synchronous_calls_from_several_threads_and_from_a_loop_share_it_too() -> None:
    flow, errors = Flow(fetch(), inputs=INT, resources={"client": Client()}), []

    def call() -> None:
        try:
            assert flow.invoke(x=1) == {"x": 2}
        except Exception as error:  # noqa: BLE001 - a thread
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    async def within_a_loop() -> None:
        call()

    asyncio.run(within_a_loop())
    assert not errors


def test_steps_call_flows_synchronously_without_a_deadlock() -> None:
    inner = Flow(nap(seconds=0.001) >> inc(), inputs=INT)

    @operator(writes="x")
    def nested(x: int) -> int:
        return int(inner.invoke(x=x)["x"])

    middle = Flow(nested(), inputs=INT)

    @operator(writes="x")
    def twice_nested(x: int) -> int:
        return int(middle.invoke(x=x)["x"])

    @operator(writes="x")
    async def nested_on_the_loop(x: int) -> int:
        return int(middle.invoke(x=x)["x"])

    many = 2 * LIMIT
    flow = Flow(Map(over="xs", as_="x", body=twice_nested()), inputs={"xs": list[int]})
    assert flow.invoke(xs=list(range(many)))["x"] == [x + 1 for x in range(many)]
    assert Flow(nested_on_the_loop(), inputs=INT).invoke(x=1) == {"x": 2}


# Threads


def together(count: int) -> Any:
    """A plain operator whose calls return only once `count` of them run at the same time."""
    barrier = threading.Barrier(count, timeout=PATIENCE)

    @operator(writes="x")
    def meet(x: int) -> int:
        barrier.wait()
        return x + 1

    return meet()


def test_plain_functions_of_branches_overlap() -> None:
    step = together(4)
    branches = Parallel(dict.fromkeys("abcd", step), join=total())
    assert Flow(branches, inputs=INT).invoke(x=0)["total"] == 4


def test_plain_functions_of_items_and_of_runs_overlap() -> None:
    flow = Flow(Map(over="xs", as_="x", body=together(4)), inputs={"xs": list[int]})
    assert flow.invoke(xs=[1, 2, 3, 4])["x"] == [2, 3, 4, 5]
    runs = Flow(together(3), inputs=INT).batch([{"x": 1}] * 3)
    assert runs == [{"x": 2}] * 3


def test_a_plain_function_does_not_hold_up_other_coroutines() -> None:
    free = threading.Event()

    @operator(writes="x")
    def hold(x: int) -> int:
        assert free.wait(PATIENCE)
        return x

    async def both() -> None:
        held = asyncio.ensure_future(Flow(hold(), inputs=INT).ainvoke(x=1))
        await asyncio.sleep(0)
        assert await Flow(nap(seconds=0), inputs=INT).ainvoke(x=2) == {"x": 2}
        assert not held.done()
        free.set()
        assert await held == {"x": 1}

    asyncio.run(both())


def test_light_functions_get_no_thread() -> None:
    @operator(writes="name", light=True)
    def here(x: int) -> str:
        return threading.current_thread().name

    @operator(writes="name")
    def elsewhere(x: int) -> str:
        return threading.current_thread().name

    async def names() -> list[str]:
        flows = [Flow(one(), inputs=INT) for one in (here, elsewhere)]
        return [(await flow.ainvoke(x=1))["name"] for flow in flows]

    assert asyncio.run(names()) == ["MainThread", "rag-step"]


def test_threads_are_bounded_over_all_runs() -> None:
    @operator(writes="threads")
    def count(x: int) -> int:
        return sum(thread.name == "rag-step" for thread in threading.enumerate())

    async def many() -> list[dict[str, Any]]:
        flow = Flow(count(), inputs=INT)
        return await asyncio.gather(*(flow.ainvoke(x=1) for _ in range(1000)))

    before = sum(thread.name == "rag-step" for thread in threading.enumerate())
    most = max(result["threads"] for result in asyncio.run(many()))
    assert 1 <= most <= max(LIMIT, before)


def test_a_pool_replaces_threads_that_nobody_waits_for() -> None:
    pool, free = Threads(limit=1), threading.Event()

    async def use() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pool.call(lambda: free.wait(PATIENCE))
        result: str = await asyncio.wait_for(pool.call(lambda: "works"), PATIENCE)
        free.set()
        return result

    assert asyncio.run(use()) == "works"


# What ends in time


@pytest.fixture
def hang() -> Iterator[Any]:
    """An operator that returns only when the test is over, and says whether it was given up."""
    free = threading.Event()

    @operator(writes="x")
    def hanging(x: int) -> int:
        free.wait(PATIENCE)
        return x

    yield hanging
    free.set()


def test_a_timeout_holds_for_a_plain_function(hang: Any) -> None:
    with pytest.raises(StepError, match=r"longer than 0\.01 s"):
        Flow(hang(timeout=0.01), inputs=INT).invoke(x=0)
    flow = Flow(hang(timeout=0.01, fallback=inc()), inputs=INT)
    assert flow.invoke(x=0) == {"x": 1}


def test_a_budget_of_seconds_holds_for_plain_functions(hang: Any) -> None:
    with pytest.raises(BudgetError, match="longer than"):
        Flow(hang(), inputs=INT, budget=Budget(seconds=0.01)).invoke(x=0)
    turns = Loop(body=inc(), max_turns=10**7)
    with pytest.raises(BudgetError, match="longer than"):
        Flow(turns, inputs=INT, budget=Budget(seconds=0.05)).invoke(x=0)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_retry_runs_beside_its_predecessor_only_if_it_may(overlap: bool) -> None:
    lock, alive, most = threading.Lock(), [0], [0]
    free = threading.Event()

    @operator(writes="x")
    def slow(x: int, *, ctx: RunContext) -> int:
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            if most[0] == 2:
                free.set()
        while not ctx.cancelled:
            time.sleep(0.001)
        if overlap:
            free.wait(PATIENCE)
        with lock:
            alive[0] -= 1
        return x

    step = slow(timeout=0.02, retry=Retry(times=2, wait=0, overlap=overlap))
    with pytest.raises(StepError, match="longer than"):
        Flow(step, inputs=INT).invoke(x=0)
    assert (most[0] > 1) is overlap


def test_a_function_sees_that_nobody_waits_for_it() -> None:
    seen = threading.Event()

    @operator(writes="x")
    def patient(x: int, *, ctx: RunContext) -> int:
        assert not ctx.cancelled
        for _ in range(int(PATIENCE * 1000)):
            if ctx.cancelled:
                seen.set()
                break
            time.sleep(0.001)
        return x

    with pytest.raises(StepError, match="longer than"):
        Flow(patient(timeout=0.02), inputs=INT).invoke(x=0)
    assert seen.wait(PATIENCE)
    seen.clear()

    async def cancel() -> None:
        task = asyncio.ensure_future(Flow(patient(), inputs=INT).ainvoke(x=0))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert seen.wait(PATIENCE)


HANGING = """
import threading
from rag.errors import StepError
from rag.flow import Flow, operator

@operator(writes="x")
def hang(x: int) -> int:
    threading.Event().wait()

try:
    Flow(hang(timeout=.05), inputs={"x": int}).invoke(x=0)
except StepError as error:
    print(error.what, flush=True)
"""


def test_a_process_exits_although_a_thread_hangs() -> None:
    call = [sys.executable, "-c", HANGING]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "took longer than 0.05 s\n"


# Context variables

TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")


@operator(writes="tenant")
async def on_the_loop(x: int) -> str:
    """Tell the caller's variable."""
    await asyncio.sleep(0)
    return TENANT.get()


@operator(writes="tenant")
def in_a_thread(x: int) -> str:
    """Tell the caller's variable."""
    return TENANT.get()


@pytest.mark.parametrize("step", [on_the_loop, in_a_thread])
def test_context_variables_reach_the_steps_from_every_entry(step: Any) -> None:
    flow, token = Flow(step(), inputs=INT), TENANT.set("a")
    try:
        assert flow.invoke(x=1)["tenant"] == "a"
        assert list(flow.stream(x=1))[-1].result["tenant"] == "a"
        assert flow.run(x=1).outputs["tenant"] == "a"
        assert flow.batch([{"x": 1}])[0]["tenant"] == "a"

        async def within_a_loop() -> list[str]:
            events = [event async for event in flow.astream(x=1)]
            results = [flow.invoke(x=1), await flow.ainvoke(x=1), events[-1].result]
            return [result["tenant"] for result in results]

        assert asyncio.run(within_a_loop()) == ["a"] * 3
    finally:
        TENANT.reset(token)
