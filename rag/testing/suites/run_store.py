"""What holds for every store of runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from rag.errors import CheckpointError, InputError, Interrupted, StepError
from rag.flow.constructs.interrupt import Interrupt
from rag.flow.constructs.loop import Loop
from rag.flow.constructs.map import Map
from rag.flow.constructs.parallel import Parallel
from rag.flow.flow import Flow
from rag.flow.memory.checkpoints import Checkpoints
from rag.flow.memory.store import RunStore
from rag.flow.memory.stored_run import CheckpointedRun
from rag.flow.operator import operator
from rag.flow.run.events import NodeStarted, Reused

Open = Callable[[], RunStore]
INT = {"x": int}


@operator(writes="x")
def add(x: int, *, by: int = 1) -> int:
    """Add a number."""
    return x + by


@operator(writes="x")
def tenfold(x: int, *, broken: bool = True) -> int:
    """Fail as long as it is broken."""
    if broken:
        raise OSError("away")
    return x * 10


@operator(writes="total")
def total(x: list[int]) -> int:
    """Add up what the branches wrote."""
    return sum(x)


@operator(writes="documents")
def find(query: str) -> list[Document]:
    """Documents with ids and metadata."""
    return [
        Document(page_content=f"{query} {number}", id=str(number), metadata={"n": (number, {"a"})})
        for number in range(2)
    ]


class Claim(BaseModel):
    """A value of a class of its own."""

    text: str
    made: date
    source: Document | None = None


VALUES: list[tuple[Any, Any]] = [
    (tuple[int, str], (1, "a")),
    (set[str], {"b", "a"}),
    (dict[int, list[str]], {1: ["a"]}),
    (dict[str, Any], {"$": "no tag", "n": None, "f": 1.5, "b": True}),
    (list[Claim], [Claim(text="t", made=date(2020, 1, 2), source=Document(page_content="d"))]),
    (bytes, b"\x00\xff"),
    (str, "\U0001f512 \u00e4 \x00 \ud800"),
    (list[Document], [Document(page_content="\u00e4\ud800", metadata={"a": (1, {"b"})})]),
    (Any, {"documents": [Document(page_content="x", id="1")]}),
]


class RunStoreSuite:
    """Tests of a store of runs. Subclass it in a test module, and override `open_store`."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        """What opens the store, empty for each test; each call is another process's connection."""
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    def three(self) -> Callable[..., Flow]:
        """What makes a flow of three steps, the last of which may be broken."""

        def make(broken: bool = True, first: int = 1, **policies: Any) -> Flow:
            steps = add(by=first, name="a") >> add(name="b")
            return Flow(steps >> tenfold(broken=broken, **policies), inputs=INT)

        return make

    def failed(self, checkpoints: Checkpoints, flow: Flow, **inputs: Any) -> str:
        """The id of a run that failed."""
        run = checkpoints.start(flow, **inputs)
        with pytest.raises(StepError):
            run.invoke()
        assert checkpoints.get(run.id).status == "failed"
        return run.id

    def ran(self, run: CheckpointedRun) -> tuple[Any, list[str], list[str]]:
        """The result, the places that were reused, and those that ran."""
        events = list(run.stream())
        reused = [str(event.place) for event in events if isinstance(event, Reused)]
        started = [str(event.place) for event in events if isinstance(event, NodeStarted)]
        return getattr(events[-1], "result", None), reused, started

    def test_a_mended_flow_goes_on_behind_what_did_not_change(
        self, open_store: Open, three: Callable[..., Flow]
    ) -> None:
        """A resumed run takes what was stored, and runs the rest."""
        with Checkpoints(open_store()) as checkpoints:
            run = self.failed(checkpoints, three(), x=0)
            mended = three(broken=False, timeout=9.0)
            assert self.ran(checkpoints.resume(mended, run)) == ({"x": 20}, ["a", "b"], ["tenfold"])
            assert checkpoints.get(run).status == "done"
            assert self.ran(checkpoints.resume(mended, run))[2] == []

    def test_what_changed_and_all_behind_it_runs_again(
        self, open_store: Open, three: Callable[..., Flow]
    ) -> None:
        """Fingerprints are stored with the writes."""
        with Checkpoints(open_store()) as checkpoints:
            run = self.failed(checkpoints, three(), x=0)
            found = self.ran(checkpoints.resume(three(broken=False, first=5), run))
            assert found == ({"x": 60}, [], ["a", "b", "tenfold"])

    def test_another_process_takes_a_run_up(
        self, open_store: Open, three: Callable[..., Flow]
    ) -> None:
        """What one connection stored, another reads."""
        with Checkpoints(open_store()) as checkpoints:
            run = self.failed(checkpoints, three(), x=0)
        with Checkpoints(open_store()) as checkpoints:
            assert [one.id for one in checkpoints.runs()] == [run]
            assert [str(step.place) for step in checkpoints.steps(run)] == ["a", "b"]
            assert checkpoints.resume(three(broken=False), run).invoke() == {"x": 20}

    def test_a_run_that_is_not_there(self, open_store: Open) -> None:
        """It is an error that names it."""
        with Checkpoints(open_store()) as checkpoints:
            assert checkpoints.runs() == []
            with pytest.raises(CheckpointError, match="there is no run 'nope'"):
                checkpoints.get("nope")

    @pytest.mark.parametrize(("kind", "value"), VALUES)
    def test_values_come_back_equal(self, open_store: Open, kind: Any, value: Any) -> None:
        """Of every type that a channel may have."""
        store = open_store()
        again = store.decoded(store.encoded_alone(value, kind), kind)
        assert again == value
        assert type(again) is type(value)
        store.close()

    def test_a_write_is_stored_whole_or_not_at_all(self, open_store: Open) -> None:
        """A value that cannot be stored leaves nothing of its step."""

        @operator(writes=("x", "thing"))
        def odd(x: int) -> tuple[int, Any]:
            return x + 1, object()

        with Checkpoints(open_store()) as checkpoints:
            run = checkpoints.start(Flow(add() >> odd(), inputs=INT), x=0)
            with pytest.raises(InputError, match="cannot be stored"):
                run.invoke()
            assert [str(step.place) for step in checkpoints.steps(run.id)] == ["add"]

    def test_a_fork_begins_as_another_run_did(
        self, open_store: Open, three: Callable[..., Flow]
    ) -> None:
        """Writes are copied, and the other run keeps its own."""
        flow = three(broken=False)
        with Checkpoints(open_store()) as checkpoints:
            run = checkpoints.start(flow, x=0)
            assert run.invoke() == {"x": 20}
            fork = checkpoints.fork(flow, run.id, before="b")
            assert fork.id != run.id
            assert checkpoints.get(fork.id).parent == run.id
            assert self.ran(fork) == ({"x": 20}, ["a"], ["b", "tenfold"])
            other = checkpoints.fork(flow, run.id, inputs={"x": 5})
            assert self.ran(other) == ({"x": 70}, [], ["a", "b", "tenfold"])
            assert self.ran(checkpoints.resume(flow, run.id))[1] == ["a", "b", "tenfold"]
            with pytest.raises(CheckpointError, match="nothing was written at 'c'"):
                checkpoints.fork(flow, run.id, before="c")

    def test_a_rewound_run_goes_on_before_a_place(self, open_store: Open) -> None:
        """Writes are deleted from a number on."""
        flow = Flow(Loop(body=add(), max_turns=4), inputs=INT)
        with Checkpoints(open_store()) as checkpoints:
            run = checkpoints.start(flow, x=0)
            run.invoke()
            checkpoints.rewind(run.id, "loop@3")
            left = [str(step.place) for step in checkpoints.steps(run.id)]
            assert left == ["loop@1/add", "loop@2/add"]
            result, _, started = self.ran(checkpoints.resume(flow, run.id))
            assert (result, started) == ({"x": 4}, ["loop@3/add", "loop@4/add"])

    def test_an_edited_value_counts_and_what_was_behind_it_runs_again(
        self, open_store: Open, three: Callable[..., Flow]
    ) -> None:
        """A write is replaced; a value of another type is refused."""
        flow = three(broken=False)
        with Checkpoints(open_store()) as checkpoints:
            run = checkpoints.start(flow, x=0)
            run.invoke()
            checkpoints.edit(flow, run.id, "a", x=100)
            again = self.ran(checkpoints.resume(flow, run.id))
            assert again == ({"x": 1010}, ["a"], ["b", "tenfold"])
            values = [(str(step.place), wrote) for step, wrote in checkpoints.values(flow, run.id)]
            assert values == [("a", {"x": 100}), ("b", {"x": 101}), ("tenfold", {"x": 1010})]
            with pytest.raises(InputError, match="'x' is str, int is wanted"):
                checkpoints.edit(flow, run.id, "a", x="many")
            with pytest.raises(InputError, match="does not write 'z'"):
                checkpoints.edit(flow, run.id, "a", z=1)
            with pytest.raises(CheckpointError, match="nothing was written at 'c'"):
                checkpoints.edit(flow, run.id, "c", x=1)

    def test_runs_are_listed_by_flow_and_status_and_pruned(self, open_store: Open) -> None:
        """The newest first; what only a deleted run used is deleted with it."""
        good, bad = Flow(add(), name="good", inputs=INT), Flow(tenfold(), name="bad", inputs=INT)
        waiting = Flow(Interrupt("?", edit=("x",)), name="waits", inputs=INT)
        store = open_store()
        with Checkpoints(store) as checkpoints:
            ids = []
            for number in range(3):
                run = checkpoints.start(good, x=number)
                run.invoke()
                ids.append(run.id)
            wrong = self.failed(checkpoints, bad, x=1)
            stopped = checkpoints.start(waiting, x=1)
            with pytest.raises(Interrupted):
                stopped.invoke()
            assert [run.id for run in checkpoints.runs(flow="good")] == ids[::-1]
            assert [run.id for run in checkpoints.runs(status="failed")] == [wrong]
            waits = checkpoints.runs(flow="waits", status="waiting")
            assert [run.id for run in waits] == [stopped.id]
            assert checkpoints.prune(older_than=3600) == 0
            assert checkpoints.prune(keep=2) == 2
            assert {run.id for run in checkpoints.runs()} == {wrong, ids[2], stopped.id}
            checkpoints.delete(stopped.id)
            assert checkpoints.prune() == 2
            assert checkpoints.runs() == []
            assert store.execute("SELECT count(*) FROM contents") == [(0,)]

    def test_documents_and_approval_survive_another_connection(self, open_store: Open) -> None:
        """A run that waits for a person is answered elsewhere."""
        flow = Flow(find() >> Interrupt("right?", edit=("documents",)), name="search")
        with Checkpoints(open_store()) as checkpoints:
            run = checkpoints.start(flow, query="q")
            with pytest.raises(Interrupted):
                run.invoke()
        with Checkpoints(open_store()) as checkpoints:
            (stop,) = checkpoints.resume(flow, run.id).stops
            found = stop.channels["documents"]
            assert found == find().run("q")
            edited = [*found[:1], Document(page_content="mine", metadata={"n": (1, 2)})]
            result, _, started = self.ran(checkpoints.resume(flow, run.id, documents=edited))
            assert (result["documents"], started) == (edited, [])

    def test_branches_and_items_write_at_once(self, open_store: Open) -> None:
        """From several threads."""
        branches = Parallel({f"b{n}": add(by=n) for n in range(20)}, join=total())
        node = branches >> Map(over="xs", as_="x", body=add(outputs={"x": "y"}))
        flow = Flow(node, inputs={"x": int, "xs": list[int]})
        with Checkpoints(open_store()) as checkpoints:
            run = checkpoints.start(flow, x=0, xs=list(range(20)))
            result = run.invoke()
            assert result["total"] == sum(range(20))
            assert result["y"] == list(range(1, 21))
            assert len(checkpoints.steps(run.id)) == 41
            assert self.ran(checkpoints.resume(flow, run.id))[2] == []

    def test_one_process_at_a_time_works_on_a_run(self, open_store: Open) -> None:
        """Another is refused, and may afterwards."""
        begun, free = threading.Event(), threading.Event()

        @operator(writes="x")
        def hold(x: int) -> int:
            begun.set()
            assert free.wait(30)
            return x

        flow, results = Flow(hold(), inputs=INT), []
        with Checkpoints(open_store()) as first, Checkpoints(open_store()) as second:
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
