"""Stored runs that are mended: edited flows, forks, rewinds, edits, pruning; in every store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rag import Checkpoints
from rag.errors import CheckpointError, InputError, Interrupted, StepError
from rag.flow import Flow, Interrupt, Loop, Map, Node, Parallel, operator
from rag.flow.memory.postgres import PostgresRunStore
from rag.flow.memory.stored_run import CheckpointedRun
from rag.flow.run.events import NodeStarted, Reused
from tests.flow.bricks import expand, find, fuse, inc, total

INT = {"x": int}


@operator(writes="x")
def odd(x: int, *, broken: bool = True) -> int:
    """Fail as long as it is broken."""
    if broken:
        raise OSError("away")
    return x * 10


def failed(checkpoints: Checkpoints, flow: Flow, **inputs: Any) -> str:
    run = checkpoints.start(flow, **inputs)
    with pytest.raises(StepError):
        run.invoke()
    assert checkpoints.get(run.id).status == "failed"
    return run.id


def ran(run: CheckpointedRun) -> tuple[Any, list[str], list[str]]:
    """The result, the places that were reused, and those that ran."""
    events = list(run.stream())
    reused = [str(event.place) for event in events if isinstance(event, Reused)]
    return events[-1].result, reused, [str(e.place) for e in events if isinstance(e, NodeStarted)]


def three(broken: bool = True, first: int = 1, **policies: Any) -> Flow:
    return Flow(
        inc(by=first, name="a") >> inc(name="b") >> odd(broken=broken, **policies), inputs=INT
    )


def test_a_mended_flow_goes_on_behind_what_did_not_change(where: str) -> None:
    with Checkpoints(where) as checkpoints:
        run = failed(checkpoints, three(), x=0)
        mended = three(broken=False, timeout=9.0)
        assert ran(checkpoints.resume(mended, run)) == ({"x": 20}, ["a", "b"], ["odd"])
        assert checkpoints.get(run).status == "done"
        assert ran(checkpoints.resume(mended, run))[2] == []


def test_what_changed_and_all_behind_it_runs_again(where: str) -> None:
    with Checkpoints(where) as checkpoints:
        run = failed(checkpoints, three(), x=0)
        found = ran(checkpoints.resume(three(broken=False, first=5), run))
        assert found == ({"x": 60}, [], ["a", "b", "odd"])


def test_another_flow_or_other_inputs_are_refused_unless_forced(where: str) -> None:
    named, other = Flow(inc(), name="one", inputs=INT), Flow(inc(), name="two", inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(named, x=1)
        run.invoke()
        with pytest.raises(CheckpointError, match="a run of one, not of two"):
            checkpoints.resume(other, run.id)
        assert checkpoints.resume(other, run.id, force=True).invoke() == {"x": 2}
        with pytest.raises(CheckpointError, match="there is no run 'nope'"):
            checkpoints.get("nope")


def test_a_fork_begins_as_another_run_did(where: str) -> None:
    flow = three(broken=False)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        assert run.invoke() == {"x": 20}
        fork = checkpoints.fork(flow, run.id, before="b")
        assert fork.id != run.id
        assert checkpoints.get(fork.id).parent == run.id
        assert ran(fork) == ({"x": 20}, ["a"], ["b", "odd"])
        other = checkpoints.fork(flow, run.id, inputs={"x": 5})
        assert ran(other) == ({"x": 70}, [], ["a", "b", "odd"])
        assert ran(checkpoints.resume(flow, run.id))[1] == ["a", "b", "odd"]
        with pytest.raises(CheckpointError, match="nothing was written at 'c'"):
            checkpoints.fork(flow, run.id, before="c")


def test_a_rewound_run_goes_on_before_a_place(where: str) -> None:
    flow = Flow(Loop(body=inc(), max_turns=4), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        run.invoke()
        checkpoints.rewind(run.id, "loop@3")
        assert [str(step.place) for step in checkpoints.steps(run.id)] == [
            "loop@1/inc",
            "loop@2/inc",
        ]
        result, _, started = ran(checkpoints.resume(flow, run.id))
        assert (result, started) == ({"x": 4}, ["loop@3/inc", "loop@4/inc"])


def test_an_edited_value_counts_and_what_was_behind_it_runs_again(where: str) -> None:
    flow = three(broken=False)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        run.invoke()
        checkpoints.edit(flow, run.id, "a", x=100)
        assert ran(checkpoints.resume(flow, run.id)) == ({"x": 1010}, ["a"], ["b", "odd"])
        values = [(str(step.place), wrote) for step, wrote in checkpoints.values(flow, run.id)]
        assert values == [("a", {"x": 100}), ("b", {"x": 101}), ("odd", {"x": 1010})]
        with pytest.raises(InputError, match="'x' is str, int is wanted"):
            checkpoints.edit(flow, run.id, "a", x="many")
        with pytest.raises(InputError, match="does not write 'z'"):
            checkpoints.edit(flow, run.id, "a", z=1)
        with pytest.raises(CheckpointError, match="nothing was written at 'c'"):
            checkpoints.edit(flow, run.id, "c", x=1)


def test_runs_are_listed_by_flow_and_status_and_pruned(where: str) -> None:
    good, bad = Flow(inc(), name="good", inputs=INT), Flow(odd(), name="bad", inputs=INT)
    waiting = Flow(Interrupt("?", edit="x"), name="waits", inputs=INT)
    with Checkpoints(where) as checkpoints:
        ids = []
        for number in range(3):
            run = checkpoints.start(good, x=number)
            run.invoke()
            ids.append(run.id)
        wrong = failed(checkpoints, bad, x=1)
        stopped = checkpoints.start(waiting, x=1)
        with pytest.raises(Interrupted):
            stopped.invoke()
        assert [run.id for run in checkpoints.runs(flow="good")] == ids[::-1]
        assert [run.id for run in checkpoints.runs(status="failed")] == [wrong]
        assert [run.id for run in checkpoints.runs(flow="waits", status="waiting")] == [stopped.id]
        assert checkpoints.prune(older_than=3600) == 0
        assert checkpoints.prune(keep=2) == 2
        assert {run.id for run in checkpoints.runs()} == {wrong, ids[2], stopped.id}
        checkpoints.delete(stopped.id)
        assert checkpoints.prune() == 2
        assert checkpoints.runs() == []
        assert checkpoints._store.execute("SELECT count(*) FROM contents") == [(0,)]


def test_documents_maps_and_approval_survive_another_connection(where: str) -> None:
    search = expand() >> Map(over="queries", as_="query", body=find(), join=fuse())
    node: Node = search >> Interrupt("right?", edit="documents")
    flow = Flow(node, name="search")
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, query="q")
        with pytest.raises(Interrupted):
            run.invoke()
    with Checkpoints(where) as checkpoints:
        (stop,) = checkpoints.resume(flow, run.id).stops
        found = stop.channels["documents"]
        assert [document.page_content for document in found] == ["q0-0", "q0-1", "q1-0", "q1-1"]
        edited = [*found[:1], Document(page_content="mine", metadata={"n": (1, 2)})]
        result, _, started = ran(checkpoints.resume(flow, run.id, documents=edited))
        assert (result["documents"], started) == (edited, [])


def test_branches_write_at_once(where: str) -> None:
    branches = Parallel({f"b{n}": inc(by=n) for n in range(20)}, join=total())
    flow = Flow(branches, inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        assert run.invoke()["total"] == sum(range(20))
        assert len(checkpoints.steps(run.id)) == 21
        assert ran(checkpoints.resume(flow, run.id))[2] == []


def test_one_process_at_a_time_works_on_a_run(where: str) -> None:
    begun, free = threading.Event(), threading.Event()

    @operator(writes="x")
    def hold(x: int) -> int:
        begun.set()
        assert free.wait(30)
        return x

    flow, results = Flow(hold(), inputs=INT), []
    with Checkpoints(where) as first, Checkpoints(where) as second:
        run = first.start(flow, x=1)
        thread = threading.Thread(target=lambda: results.append(run.invoke()))
        thread.start()
        assert begun.wait(30)
        for work in (
            lambda: second.resume(flow, run.id).invoke(),
            lambda: second.delete(run.id),
            lambda: second.rewind(run.id, ""),
        ):
            with pytest.raises(CheckpointError, match="another process works on it"):
                work()
        free.set()
        thread.join(30)
        assert results == [{"x": 1}]
        assert second.resume(flow, run.id).invoke() == {"x": 1}


def test_a_lease_that_is_not_prolonged_ends_and_one_that_is_does_not(postgres: Path) -> None:
    url = f"postgresql://rag@/postgres?host={postgres}"
    with Checkpoints(url) as checkpoints:
        run = checkpoints.start(Flow(inc(), inputs=INT), x=1)
        one, other = PostgresRunStore(url, lease=0.3), PostgresRunStore(url)
        with one.owned(run.id):
            lease = "SELECT lease FROM runs WHERE id = ?"
            ((before,),) = other.execute(lease, (run.id,))
            for _ in range(100):
                other.execute("SELECT pg_sleep(0.02)")
                if other.execute(lease, (run.id,)) != [(before,)]:
                    break
            else:
                pytest.fail("the lease was not prolonged")
            with pytest.raises(CheckpointError, match="another process"), other.owned(run.id):
                pass
        one._take(run.id, "a process that dies")  # nobody prolongs it
        other.execute("UPDATE runs SET lease = lease - 100 WHERE id = ?", (run.id,))
        assert checkpoints.resume(Flow(inc(), inputs=INT), run.id).invoke() == {"x": 2}
        one.close()
        other.close()


FINGERPRINT = """
from rag.flow import operator
from rag.flow.memory.fingerprint import fingerprint

@operator(writes="x")
def pick(x: int, *, words: set = frozenset(), table: dict = {}) -> int:
    return x if x in {1, 2, 3} or str(x) in {"a", "b", "c"} else 0

words = {"north", "south", "east", "west", "lock"}
print(fingerprint(pick(words=words, table={word: words for word in sorted(words)})))
"""


def test_a_set_in_the_configuration_has_one_fingerprint_in_all_processes() -> None:
    found = set()
    for seed in ("1", "2", "3"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        call = [sys.executable, "-c", FINGERPRINT]
        found.add(subprocess.run(call, env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1


def test_a_write_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "runs") as checkpoints:
        flow, steps = Flow(Map(over="xs", as_="x", body=inc()), inputs={"xs": list[int]}), [0]

        def count() -> int:
            steps[0] += 1
            return 0

        checkpoints._store._db.set_progress_handler(count, 10)  # every ten steps of SQLite
        costs = []
        for items in (200, 800):
            run = checkpoints.start(flow, xs=[0] * items)
            steps[0] = 0
            run.invoke()
            costs.append(steps[0])
    assert costs[1] < 4 * costs[0] * 1.3
