"""Runs that are remembered: what a crash leaves, what a person changes."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag import Checkpoints
from rag.errors import (
    BudgetError,
    BuildError,
    CheckpointError,
    ConfigError,
    InputError,
    Interrupted,
    StepError,
)
from rag.flow import (
    Budget,
    Flow,
    Interrupt,
    Loop,
    Map,
    Node,
    Parallel,
    Recurse,
    RunContext,
    operator,
)
from rag.flow.memory.store import RunStore
from rag.flow.run.events import Done, LoopTurn, NodeStarted, Reused, Waiting
from tests.flow.bricks import expand, explode, find, fuse, inc, nap, speak, top, total
from tests.flow.test_yaml import nodes

INT = {"x": int}


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def stop_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Let the process 'die' when it wants to keep one write more."""
    real, left = RunStore.record, [writes]

    def record(self: RunStore, *args: Any, **kwargs: Any) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        real(self, *args, **kwargs)

    monkeypatch.setattr(RunStore, "record", record)


@given(nodes, st.integers(0, 12))
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_resume_after_a_kill_at_any_step_gives_the_undisturbed_result(
    tmp_path: Path, node: Node, writes: int
) -> None:
    flow = Flow(node, inputs={"x": int, "xs": list[int]})
    undisturbed = flow.invoke(x=1, xs=[1, 2])
    with pytest.MonkeyPatch.context() as patch, Checkpoints(tmp_path / "runs") as checkpoints:
        stop_after(patch, writes)
        run = checkpoints.start(flow, x=1, xs=[1, 2])
        try:
            assert run.invoke() == undisturbed
        except Killed:
            assert checkpoints.get(run.id).status == "running"
    with Checkpoints(tmp_path / "runs") as checkpoints:
        kept = len(checkpoints.steps(run.id))
        events = list(checkpoints.resume(flow, run.id).stream())
        assert isinstance(events[-1], Done)
        assert events[-1].result == undisturbed
        assert sum(isinstance(event, Reused) for event in events) >= min(kept, 1)
        assert checkpoints.get(run.id).status == "done"


def test_a_finished_step_does_not_run_again(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow(inc() >> inc() >> inc(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with monkeypatch.context() as patch:
            stop_after(patch, 2)
            with pytest.raises(Killed):
                run.invoke()
        events = list(checkpoints.resume(flow, run.id).stream())
    assert [type(event) for event in events[:3]] == [Reused, Reused, NodeStarted]
    assert events[-1].result == {"x": 3}


KILLED = """
import os, sys
from langchain_core.documents import Document
from rag import Checkpoints, Flow, Loop, operator

@operator(writes="documents")
def grow(documents: list[Document]) -> list[Document]:
    if len(documents) == 5 and "again" not in sys.argv:
        os.kill(os.getpid(), 9)
    return [*documents, Document(page_content=f"text {len(documents)}", metadata={"n": 1})]

flow = Flow(Loop(body=grow(), max_turns=9), inputs={"documents": list[Document]})
with Checkpoints(sys.argv[1]) as checkpoints:
    if "again" in sys.argv:
        run = checkpoints.resume(flow, checkpoints.runs()[0].id)
    else:
        run = checkpoints.start(flow, documents=[])
    print([document.page_content for document in run.invoke()["documents"]], run.id)
    print(len(checkpoints.steps(run.id)))
"""


def test_a_killed_process_loses_nothing_it_finished(tmp_path: Path) -> None:
    call = [sys.executable, "-c", KILLED, str(tmp_path / "runs")]
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    with Checkpoints(tmp_path / "runs") as checkpoints:
        (record,) = checkpoints.runs()
        assert record.status == "running"
        assert len(checkpoints.steps(record.id)) == 5
    again = subprocess.run([*call, "again"], check=True, capture_output=True, text=True)
    assert again.stdout.startswith(str([f"text {number}" for number in range(9)]))
    assert again.stdout.endswith("9\n")


def test_a_failed_run_goes_on_at_the_step_that_failed(where: str) -> None:
    broken = [True]
    calls = []

    @operator(writes="x")
    def moody(x: int) -> int:
        calls.append(x)
        if broken[0]:
            raise OSError("the service is away")
        return x + 100

    flow = Flow(inc() >> moody() >> inc(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(StepError, match="the service is away"):
            run.invoke()
        record = checkpoints.get(run.id)
        assert record.status == "failed"
        assert "moody" in str(record.error)
        broken[0] = False
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 102}
    assert calls == [1, 1]


def test_a_branch_left_out_stays_out_when_resumed(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]

    @operator(writes="x")
    def moody(x: int) -> int:
        if broken[0]:
            raise OSError("away")
        return x

    branches = Parallel(a=inc(), b=moody(), join=total(), on_error="skip")
    flow = Flow(branches >> inc(inputs={"x": "total"}), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=1)
        with monkeypatch.context() as patch:
            stop_after(patch, 3)
            with pytest.raises(Killed):
                run.invoke()
        broken[0] = False
        assert checkpoints.resume(flow, run.id).invoke()["total"] == 2


def test_the_budget_counts_what_was_spent_before_the_crash(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @operator(writes="x")
    def spend(x: int, *, ctx: RunContext) -> int:
        ctx.spend(llm_calls=1, tokens=10)
        return x + 1

    flow = Flow(Loop(body=spend(), max_turns=4), inputs=INT, budget=Budget(llm_calls=3))
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with monkeypatch.context() as patch:
            stop_after(patch, 2)
            with pytest.raises(Killed):
                run.invoke()
        assert checkpoints.get(run.id).tokens == 20
        with pytest.raises(BudgetError, match="llm_calls"):
            checkpoints.resume(flow, run.id).invoke()


def test_a_store_of_200_turns_over_a_megabyte_of_documents_stays_under_2_megabytes(
    tmp_path: Path,
) -> None:
    @operator(writes="documents")
    def rotate(documents: list[Document]) -> list[Document]:
        return [*documents[1:], documents[0]]

    documents = [
        Document(id=f"d{number}", page_content=f"{number:04}" * 875, metadata={"path": "a.md"})
        for number in range(300)
    ]
    flow = Flow(Loop(body=rotate(), max_turns=200), inputs={"documents": list[Document]})
    sizes = []
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, documents=documents)
        for event in run.stream():
            if isinstance(event, LoopTurn) and event.turn in (51, 101, 151):
                with closing(sqlite3.connect(tmp_path / "runs")) as other:
                    sizes.append(4096 * other.execute("PRAGMA page_count").fetchone()[0])
        assert (
            checkpoints.resume(flow, run.id).invoke()["documents"]
            == documents[200:] + documents[:200]
        )
    sizes.append((tmp_path / "runs").stat().st_size)
    assert sizes[-1] < 2_000_000
    # Linear: each fifty turns cost the same.
    assert (sizes[3] - sizes[2]) < 1.2 * (sizes[1] - sizes[0]) + 10_000


# Interrupts


def approval() -> Flow:
    stop = Interrupt("Send this?", show=("query",), edit=("answer",))
    return Flow(speak() >> stop >> speak(inputs={"query": "answer"}), name="approval")


def test_a_run_waits_for_a_person_and_goes_on_with_the_edit(where: str) -> None:
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(approval(), query="hello")
        with pytest.raises(Interrupted, match=r"Send this\?") as stop:
            run.invoke()
        assert stop.value.stops[0].channels == {"query": "hello", "answer": "hello"}
        assert checkpoints.get(run.id).status == "waiting"
        assert [run.editable(one) for one in run.stops] == [{"answer": str}]
    with Checkpoints(where) as checkpoints:
        resumed = checkpoints.resume(approval(), run.id, answer="bye")
        assert resumed.invoke() == {"query": "hello", "answer": "bye"}
        assert checkpoints.resume(approval(), run.id).invoke()["answer"] == "bye"


def test_resuming_without_an_edit_approves(where: str) -> None:
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(approval(), query="hello")
        assert isinstance(list(run.stream())[-1], Waiting)
        events = list(checkpoints.resume(approval(), run.id).stream())
    assert events[-1].result["answer"] == "hello"


def test_each_item_of_a_map_waits_for_its_own_word(where: str) -> None:
    body = Interrupt("right?", edit=("x",)) >> inc(outputs={"x": "y"})
    flow = Flow(Map(over="xs", as_="x", body=body), inputs={"xs": list[int]})
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, xs=[1, 2])
        with pytest.raises(Interrupted) as pause:
            run.invoke()
        assert [str(stop.place) for stop in pause.value.stops] == [
            "map#0/interrupt",
            "map#1/interrupt",
        ]
        with pytest.raises(InputError, match="several places"):
            checkpoints.resume(flow, run.id, x=10)
        run = checkpoints.resume(flow, run.id, answers={"map#1/interrupt": {"x": 20}})
        with pytest.raises(Interrupted) as pause:
            run.invoke()
        assert [stop.channels for stop in pause.value.stops] == [{"x": 1}]
        run = checkpoints.resume(flow, run.id, x=10)
        assert run.invoke()["y"] == [11, 21]


def test_what_may_not_be_set_is_refused(where: str) -> None:
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(approval(), query="hello")
        with pytest.raises(Interrupted):
            run.invoke()
        with pytest.raises(InputError, match="'query' may not be set"):
            checkpoints.resume(approval(), run.id, query="x")
        with pytest.raises(InputError, match="'answer' is int, str is wanted"):
            checkpoints.resume(approval(), run.id, answer=3)
        assert checkpoints.get(run.id).status == "waiting"


def test_an_interrupt_without_a_checkpoint_is_said_before_anything_runs() -> None:
    with pytest.raises(InputError, match="nothing would store the run"):
        approval().invoke(query="x")
    nested = Flow(approval().at())
    with pytest.raises(InputError, match="approval/interrupt"):
        nested.invoke(query="x")


def test_an_interrupt_shows_only_what_there_is() -> None:
    with pytest.raises(BuildError, match="did you mean 'answer'"):
        Flow(speak() >> Interrupt("ok?", edit=("anser",)))


# What is refused


def test_another_pipeline_cannot_go_on_with_a_run(where: str) -> None:
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(Flow(inc(), inputs=INT), x=0)
        with pytest.raises(CheckpointError, match="not of other"):
            checkpoints.resume(Flow(inc(), inputs=INT, name="other"), run.id)
        with pytest.raises(CheckpointError, match="has the inputs x, the flow x, y"):
            checkpoints.resume(Flow(inc(), inputs={"x": int, "y": int}), run.id)
        with pytest.raises(CheckpointError, match="no run 'nope'"):
            checkpoints.resume(Flow(inc(), inputs=INT), "nope")


def test_two_at_once_cannot_work_on_one_run(tmp_path: Path) -> None:
    flow = Flow(inc() >> nap(seconds=0.0), inputs=INT)
    with Checkpoints(tmp_path / "runs") as one, Checkpoints(tmp_path / "runs") as two:
        run = one.start(flow, x=0)
        events = run.stream()
        next(events)
        with pytest.raises(CheckpointError, match="another process works on it"):
            two.resume(flow, run.id).invoke()
        events.close()
        assert two.resume(flow, run.id).invoke() == {"x": 1}
    assert not list(tmp_path.glob("*.lock"))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"not a database" * 100)
    with pytest.raises(CheckpointError, match="cannot be used: file is not a database"):
        Checkpoints(tmp_path / "runs")


def test_a_deleted_run_takes_what_only_it_used(where: str) -> None:
    flow = Flow(find(k=3) >> top(k=1))
    with Checkpoints(where) as checkpoints:
        first, second = (checkpoints.start(flow, query=query) for query in ("a", "b"))
        first.invoke()
        second.invoke()
        checkpoints.delete(first.id)
        assert [record.id for record in checkpoints.runs()] == [second.id]
        assert checkpoints.resume(flow, second.id).invoke()["documents"][0].page_content == "b-0"
        checkpoints.delete(second.id)
        assert checkpoints._store._db.execute("SELECT count(*) FROM contents").fetchone() == (0,)


# Values


def test_a_value_that_could_not_come_back_is_refused(where: str) -> None:
    @operator(writes="x")
    def odd(x: int) -> Any:
        return object()

    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(Flow(odd(), inputs=INT), x=0)
        with pytest.raises(InputError, match="cannot be stored"):
            run.invoke()


# Recursion


@operator(writes="halves")
def halve(x: int) -> list[int]:
    return [x // 2, x - x // 2]


@operator(writes="sum")
def leaf(x: int) -> int:
    return x


@operator(writes="sum")
def add(sum: list[int]) -> int:  # noqa: A002 - a channel
    return sum[0] + sum[1]


def tree(depth: int) -> Flow:
    again = Recurse(base=leaf(), max_depth=depth)
    return Flow(
        halve() >> Map(over="halves", as_="x", body=again, join=add()), inputs=INT, outputs=["sum"]
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_flow_calls_itself_to_a_depth_and_no_deeper(depth: int) -> None:
    events = list(tree(depth).stream(x=37))
    assert events[-1].result == {"sum": 37}
    leaves = [e for e in events if isinstance(e, NodeStarted) and e.node.endswith("leaf")]
    halves = [e for e in events if isinstance(e, NodeStarted) and e.node.endswith("halve")]
    assert (len(leaves), len(halves)) == (2 ** (depth + 1), 2 ** (depth + 1) - 1)


def test_a_recursion_resumes_where_it_stopped(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(tree(3), x=37)
        with monkeypatch.context() as patch:
            stop_after(patch, 20)
            with pytest.raises(Killed):
                run.invoke()
        events = list(checkpoints.resume(tree(3), run.id).stream())
    assert sum(isinstance(event, Reused) for event in events) == 20
    assert events[-1].result == {"sum": 37}


def wrong(make: Callable[[], Any]) -> str:
    with pytest.raises((BuildError, ConfigError)) as caught:
        make()
    return str(caught.value)


def test_what_is_wrong_with_a_recursion_is_said() -> None:
    again = Recurse(base=leaf(), max_depth=2)
    assert "must name its outputs" in wrong(lambda: Flow(again, inputs=INT))
    assert "base does not write 'x2'" in wrong(
        lambda: Flow(again >> inc(outputs={"x": "x2"}), inputs=INT, outputs=["x2"])
    )
    assert "max_depth is 0" in wrong(lambda: Recurse(base=leaf(), max_depth=0))
    text = Recurse(base=speak(outputs={"answer": "sum"}), max_depth=2)
    assert "base's str" in wrong(
        lambda: Flow(text >> leaf(), inputs={"x": int, "query": str}, outputs=["sum"])
    )


def test_a_cancelled_run_may_be_resumed_and_leaves_no_lock(tmp_path: Path) -> None:
    napping = threading.Event()

    @operator(writes="x")
    async def sleep(x: int) -> int:
        napping.set()
        await asyncio.sleep(30)
        return x

    flow = Flow(inc() >> sleep() >> inc(), inputs=INT)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, x=0)

        async def main() -> None:
            task = asyncio.create_task(run.ainvoke())
            await asyncio.to_thread(napping.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert checkpoints.get(run.id).status == "running"
        assert len(checkpoints.steps(run.id)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_map_items_and_branches_are_told_apart(where: str) -> None:
    flow = Flow(
        expand(n=3) >> Map(over="queries", as_="query", body=find(k=1), join=fuse()) >> top(k=9)
    )
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, query="q")
        first = run.invoke()
        assert checkpoints.resume(flow, run.id).invoke() == first
        assert len(checkpoints.steps(run.id)) == 1 + 3 + 1 + 1


def test_a_failing_step_is_not_remembered(where: str) -> None:
    flow = Flow(explode(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=1)
        for _ in range(2):
            with pytest.raises(StepError, match="cannot do 1"):
                run.invoke()
        assert checkpoints.steps(run.id) == []


def test_a_verdict_over_events_is_remembered(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "any(e['event'] == 'node_finished' and e['writes']['x'] > 1 for e in events)"
    flow = Flow(Loop(body=inc(), until=told, max_turns=9) >> inc() >> inc(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with monkeypatch.context() as patch:
            stop_after(patch, 5)
            with pytest.raises(Killed):
                run.invoke()
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 4}
