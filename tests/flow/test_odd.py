"""Odd combinations of constructs, policies and pauses; odd values, odd errors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rag import Checkpoints
from rag.errors import ConfigError, Interrupted
from rag.flow import Flow, Guard, Interrupt, Loop, Map, Node, Parallel, Race, RunContext, operator
from rag.flow.run.events import NodeStarted
from tests.flow.bricks import explode, inc, nap, total

INT = {"x": int}


@operator(writes="x")
async def ask(x: int, *, ctx: RunContext) -> int:
    """Ask for the value."""
    return int((await ctx.interrupt("right?", x=x))["x"])


@operator(writes="xs")
def spread(total: int) -> list[int]:
    """Make two items of one."""
    return [total, total + 1]


def approved(places: list[str]) -> dict[str, dict[str, Any]]:
    """Leave all as it is."""
    return {place: {} for place in places}


def answered(flow: Flow, where: str, answers: Any, **inputs: Any) -> tuple[Any, list[Any]]:
    """The result of a run whose pauses are answered, and the places of each pause."""
    asked = []
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, **inputs)
        for _ in range(20):
            try:
                return run.invoke(), asked
            except Interrupted as pause:
                places = [str(stop.place) for stop in pause.stops]
                asked.append(places)
                run = checkpoints.resume(flow, run.id, answers=answers(places))
    raise AssertionError("the run never ends")


@pytest.mark.parametrize("stop", [ask(), Interrupt("right?", edit="x", name="ask")])
def test_items_in_a_loop_are_answered_one_at_a_time(where: str, stop: Node) -> None:
    mapped = Map(over="xs", as_="x", body=inc() >> stop, join=total())
    flow = Flow(Loop(body=mapped >> spread(), max_turns=2), inputs={"xs": list[int]})
    result, asked = answered(flow, where, lambda places: {places[0]: {"x": 10}}, xs=[1, 2])
    assert result["total"] == 20
    assert [len(places) for places in asked] == [2, 1, 2, 1]


def test_a_resumed_race_repeats_neither_its_winner_nor_its_losers(where: str) -> None:
    begun = []

    @operator(writes="x")
    async def never(x: int) -> int:
        begun.append(x)
        await asyncio.Event().wait()
        return x

    race = Race(a=never(), b=inc(by=5), winner="winner")
    flow = Flow(race >> ask(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=1)
        with pytest.raises(Interrupted):
            run.invoke()
        assert begun == [1]
        events = list(checkpoints.resume(flow, run.id, x=7).stream())
    assert events[-1].result == {"x": 7, "winner": "b"}
    assert [event.node for event in events if isinstance(event, NodeStarted)] == ["ask"]
    assert begun == [1]


def test_a_race_whose_winner_was_edited_is_run_again(where: str) -> None:
    def flow(by: int) -> Flow:
        race = Race(a=inc(by=by), b=nap() >> inc(by=50), until="x > 10", winner="winner")
        return Flow(race >> ask(), inputs=INT)

    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow(20), x=1)
        with pytest.raises(Interrupted):
            run.invoke()
        with pytest.raises(Interrupted) as pause:
            checkpoints.resume(flow(2), run.id).invoke()
    assert pause.value.stops[0].channels == {"x": 51}


def test_a_race_waits_for_a_person_only_where_no_branch_is_good(tmp_path: Path) -> None:
    flow = Flow(Race(a=ask(), b=nap() >> inc(by=5)), inputs=INT)
    assert answered(flow, tmp_path / "one", approved, x=1) == ({"x": 6}, [])
    flow = Flow(Race(a=ask(), b=explode()), inputs=INT)
    result, asked = answered(flow, tmp_path / "two", lambda places: {places[0]: {"x": 9}}, x=1)
    assert (result, asked) == ({"x": 9}, [["race/a/ask/.interrupt"]])


def test_a_race_in_a_branch_leaves_the_other_branchs_writes(where: str) -> None:
    race = Race(a=nap() >> inc(), b=inc(by=5))
    flow = Flow(Parallel(p=race, q=inc(by=7) >> ask(), join=total()), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=1)
        with pytest.raises(Interrupted):
            run.invoke()
        events = list(checkpoints.resume(flow, run.id).stream())
    started = [event.node for event in events if isinstance(event, NodeStarted)]
    assert started == ["parallel/q/ask", "parallel/.join/total"]
    assert events[-1].result["total"] == 14


def test_a_fallback_that_ran_counts_when_the_run_is_resumed(where: str) -> None:
    begun = []

    @operator(writes="x")
    def fails(x: int) -> int:
        begun.append(x)
        raise OSError("away")

    @operator(writes="x")
    def instead(x: int, error: str) -> int:
        return x + len(error)

    guard = Guard(inc(by=0) >> fails(), fallback=instead() >> inc(by=2))
    flow = Flow(guard >> ask() >> ask(), inputs=INT)
    result, asked = answered(flow, where, approved, x=1)
    assert (result, len(asked), begun) == ({"x": 1 + len("OSError: away") + 2}, 2, [1])
    asking = Flow(Guard(fails(), fallback=ask() >> ask()), inputs=INT)
    result, asked = answered(asking, where, lambda p: {p[0]: {"x": 5}}, x=1)
    assert (result, len(asked), begun) == ({"x": 5}, 2, [1, 1])


def test_an_edited_node_is_tried_again_before_its_fallback(where: str) -> None:
    @operator(writes="x")
    def may(x: int, *, broken: bool) -> int:
        if broken:
            raise OSError("away")
        return x + 1

    def flow(broken: bool) -> Flow:
        return Flow(Guard(may(broken=broken), fallback=inc(by=50)) >> ask(), inputs=INT)

    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow(True), x=1)
        with pytest.raises(Interrupted) as pause:
            run.invoke()
        assert pause.value.stops[0].channels == {"x": 51}
        with pytest.raises(Interrupted) as pause:
            checkpoints.resume(flow(False), run.id).invoke()
    assert pause.value.stops[0].channels == {"x": 2}


def test_a_branch_that_fails_after_an_edit_changes_the_join(where: str) -> None:
    def flow(broken: bool) -> Flow:
        @operator(writes="x")
        def may(x: int) -> int:
            if broken:
                raise OSError("away")
            return x

        branches = Parallel(a=inc(), b=may(), join=total(), on_error="skip")
        return Flow(branches >> ask(), inputs=INT)

    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow(False), x=1)
        with pytest.raises(Interrupted):
            run.invoke()
        edited = checkpoints.resume(flow(True), run.id)
        with pytest.raises(Interrupted):
            edited.invoke()
        assert checkpoints.resume(flow(True), run.id).invoke()["total"] == 2


def test_what_was_enough_before_is_enough_when_the_run_is_resumed(where: str) -> None:
    begun = []

    @operator(writes="x")
    async def never(x: int) -> int:
        begun.append(x)
        await asyncio.Event().wait()
        return x

    branches = Parallel(a=inc(), b=never(), c=inc(by=5), quorum=2, join=total())
    flow = Flow(branches >> ask(), inputs=INT)
    result, asked = answered(flow, where, approved, x=1)
    assert (result["total"], len(asked), begun) == (8, 1, [1])


@pytest.mark.parametrize("scores", [[float("nan"), 1.0, 0.5], [1.0, float("nan"), 0.5]])
def test_a_score_that_is_no_number_loses(scores: list[float]) -> None:
    @operator(writes="score")
    def score(x: int) -> float:
        return scores[x - 1]

    flow = Flow(Loop(body=inc() >> score(), max_turns=3, keep="score"), inputs=INT)
    assert flow.invoke(x=0)["score"] == 1.0


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_batch_without_concurrency_is_refused(concurrency: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Flow(inc(), inputs=INT).batch([{"x": 1}], concurrency=concurrency)


EXITING = """
import sys
from rag.flow import Flow, operator
from tests.flow.bricks import nap

@operator(writes="x")
async def leave(x: int) -> int:
    sys.exit(3)

try:
    Flow(leave(), inputs={"x": int}).invoke(x=1)
except SystemExit as stop:
    print("exit", stop.code, Flow(nap(), inputs={"x": int}).invoke(x=1))
"""


def test_a_step_that_exits_ends_its_run_and_no_other() -> None:
    call = [sys.executable, "-c", EXITING]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "exit 3 {'x': 1}\n"
