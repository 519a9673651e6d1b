"""What LangGraph's suite holds of its graphs, with our constructs: stored runs, and many at once.

Each test names the test under `libs/langgraph/tests` that it stands for.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rag.errors import CheckpointError
from rag.flow import Flow, Loop, Map, Memory, Parallel, operator
from rag.flow.memory.checkpoints import Checkpoints
from rag.flow.run.events import NodeStarted
from tests.flow.peers.bricks import add, note, stuck, total

INT = {"x": int}


# Stored runs

CHILD = """
import os, signal, sys
from pathlib import Path
from rag.flow import Flow, Loop, operator
from rag.flow.memory.checkpoints import Checkpoints

folder = Path(sys.argv[1])

@operator(writes="x")
def step(x: int) -> int:
    if x == 4 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with open(folder / "log", "a") as file:
        file.write(f"{x} ")
    return x + 1

flow = Flow(Loop(body=step(), max_turns=6), inputs={"x": int})
with Checkpoints(folder / "runs") as checkpoints:
    known = checkpoints.runs()
    run = checkpoints.resume(flow, known[0].id) if known else checkpoints.start(flow, x=0)
    print(run.invoke()["x"])
"""


def test_a_killed_process_repeats_nothing(tmp_path: Path) -> None:
    """`test_pregel.py::test_checkpoint_recovery`: there an exception, here SIGKILL."""

    def child() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert child().returncode == -signal.SIGKILL
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "3"]
    ended = child()
    assert ended.stdout.strip() == "6", ended.stderr
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "3", "4", "5"]


def test_of_two_who_resume_one_wins(tmp_path: Path) -> None:
    """No test there: two processes on one thread both go on. Here the second is refused."""
    started, release = threading.Event(), threading.Event()

    @operator(writes="x")
    def slow(x: int) -> int:
        started.set()
        assert release.wait(30)
        return x + 1

    flow = Flow(slow(), inputs=INT)
    with (
        Checkpoints(tmp_path / "runs") as one,
        Checkpoints(tmp_path / "runs") as two,
        ThreadPoolExecutor(1) as pool,
    ):
        run = one.start(flow, x=0)
        first = pool.submit(run.invoke)
        assert started.wait(30)
        with pytest.raises(CheckpointError, match="another process works on it"):
            two.resume(flow, run.id).invoke()
        release.set()
        assert first.result() == {"x": 1}
        assert two.resume(flow, run.id).invoke() == {"x": 1}


def test_fork_rewind_and_edit(checkpoints: Checkpoints) -> None:
    """`test_time_travel.py::test_fork_reruns_with_modified_state`, `test_replay_reruns_nodes_...`.

    Also `test_multiple_forks_from_same_checkpoint`: the run that was forked stays as it was.
    """
    calls: list[str] = []

    def letter(text: str) -> Any:
        @operator(writes="log", use=text)
        def write(log: list[str]) -> list[str]:
            calls.append(text)
            return [*log, text]

        return write()

    flow = Flow(letter("a") >> letter("b") >> letter("c"), inputs={"log": list[str]})
    run = checkpoints.start(flow, log=[])
    assert run.invoke()["log"] == ["a", "b", "c"]
    calls.clear()
    fork = checkpoints.fork(flow, run.id, before="b")
    checkpoints.edit(flow, fork.id, "a", log=["x"])
    assert checkpoints.resume(flow, fork.id).invoke()["log"] == ["x", "b", "c"]
    assert calls == ["b", "c"]
    calls.clear()
    other = checkpoints.fork(flow, run.id, inputs={"log": ["0"]})
    assert other.invoke()["log"] == ["0", "a", "b", "c"]
    assert calls == ["a", "b", "c"]
    calls.clear()
    checkpoints.rewind(run.id, "c")
    assert checkpoints.resume(flow, run.id).invoke()["log"] == ["a", "b", "c"]
    assert calls == ["c"]
    assert [record.parent for record in checkpoints.runs()].count(run.id) == 2


def test_what_a_user_said_is_known_in_another_run(tmp_path: Path) -> None:
    """`test_pregel.py::test_store_injected`: a store across threads, by namespace and key."""

    @operator(writes="known")
    def remember(fact: str, user: str, *, memory: Memory) -> list[str]:
        facts: list[str] = memory.update(user, "facts", lambda old: [*(old or []), fact])
        return facts

    flow = Flow(
        remember(),
        inputs={"fact": str, "user": str},
        resources={"memory": str(tmp_path / "memory.sqlite")},
    )
    with flow, Checkpoints(tmp_path / "runs") as checkpoints:
        assert checkpoints.start(flow, fact="tea", user="ada").invoke()["known"] == ["tea"]
        assert flow.invoke(fact="cats", user="ada")["known"] == ["tea", "cats"]
        assert flow.invoke(fact="dogs", user="bob")["known"] == ["dogs"]


# Many at once


def test_cancelling_a_run_cancels_its_nodes() -> None:
    """`test_pregel_async.py::test_node_cancellation_on_external_cancel`."""
    ended: list[str] = []
    flow = Flow(Parallel(a=stuck(ended), b=stuck(ended), join=total()), inputs=INT)

    async def main() -> int:
        before = len(asyncio.all_tasks())
        task = asyncio.create_task(flow.ainvoke(x=0))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(asyncio.all_tasks()) - before

    assert asyncio.run(main()) == 0
    assert ended == ["cancelled"] * 2


def test_a_stream_that_is_broken_off_leaves_nothing_behind() -> None:
    """`test_pregel_async.py::test_cancel_graph_astream`, `..._waiter_cleanup_on_cancel`."""
    ended: list[str] = []
    flow = Flow(add() >> stuck(ended), inputs=INT)

    async def main() -> int:
        before = len(asyncio.all_tasks())
        events = flow.astream(x=0)
        async for event in events:
            if isinstance(event, NodeStarted) and event.place[-1] == "wait":
                await events.aclose()  # type: ignore[attr-defined]
                break
        return len(asyncio.all_tasks()) - before

    assert asyncio.run(main()) == 0
    assert ended == ["cancelled"]


def test_a_synchronous_stream_that_is_broken_off_cancels_its_run() -> None:
    """As `test_pregel_async.py::test_cancel_graph_astream`, from a caller without a loop."""
    gone = threading.Event()

    @operator(writes="x")
    async def wait(x: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return x

    events = Flow(wait(), inputs=INT).stream(x=0)
    assert isinstance(next(events), NodeStarted)
    events.close()  # type: ignore[attr-defined]
    assert gone.wait(30)


def test_fifty_threads_run_one_graph() -> None:
    """`test_pregel.py::test_concurrent_execution_thread_safety`: results are independent."""
    flow = Flow(Parallel(a=add(), b=add(n=2), join=total()), inputs=INT)
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(lambda x: flow.invoke(x=x)["total"], range(200)))
    assert results == [2 * x + 3 for x in range(200)]


def test_synchronous_calls_within_a_running_loop() -> None:
    """`test_pregel_async.py::test_imp_sync_from_async`; a notebook's cells are such callers."""

    @operator(writes="x")
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    flow = Flow(Parallel(a=later(), b=add(), join=total()), inputs=INT)

    async def cell() -> tuple[Any, str]:
        return flow.invoke(x=0)["total"], type(list(flow.stream(x=0))[-1]).__name__

    assert asyncio.run(cell()) == (2, "Done")


def test_ten_thousand_items() -> None:
    """`test_pregel_async.py::test_max_concurrency`, with more sends than there."""
    alive, most = [0], [0]

    @operator(writes="x")
    async def count(x: int) -> int:
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        await asyncio.sleep(0)
        alive[0] -= 1
        return x

    spread = Map(over="xs", as_="x", body=count(), join=total(), concurrency=100)
    assert Flow(spread, inputs={"xs": list[int]}).invoke(xs=list(range(10_000)))["total"] == sum(
        range(10_000)
    )
    assert most == [100]


def test_ten_thousand_turns() -> None:
    """`test_pregel.py::test_pregel_loop_refcount`; no limit on steps but the loop's own."""
    assert Loop(body=add(), max_turns=10_000).invoke(x=0) == {"x": 10_000}
    assert Flow(Loop(body=note(text="."), max_turns=100), inputs={}).invoke()["log"] == ["."] * 100
