"""What flows do when they run, construct by construct."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from rag.errors import InputError, StepError
from rag.flow import Flow, Loop, Map, Parallel, Route, RunContext, Sequence, operator
from rag.flow.run.events import (
    BranchSkipped,
    Done,
    LoopTurn,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    Token,
)
from tests.flow.bricks import (
    Scale,
    answer,
    classify,
    expand,
    explode,
    find,
    fuse,
    inc,
    lie,
    named,
    nap,
    remember,
    speak,
    top,
    total,
)

INT = {"x": int}


def test_a_sequence_passes_channels_on() -> None:
    flow = find(k=3) >> top(k=1) >> answer()
    assert flow.invoke(query="q")["answer"] == "q: q-0"


def test_one_operator_runs_by_itself() -> None:
    assert inc(by=2).invoke(x=3) == {"x": 5}


def test_a_class_writes_several_channels() -> None:
    assert Scale(factor=3).invoke(x=2) == {"x": 6, "note": "times 3"}


def test_channels_are_renamed_at_the_place_of_use() -> None:
    flow = inc(inputs={"x": "a"}, outputs={"x": "b"}) >> inc(inputs={"x": "b"}, outputs={"x": "c"})
    assert flow.invoke(a=1) == {"a": 1, "b": 2, "c": 3}


def test_a_join_gets_a_value_per_branch_in_their_order() -> None:
    flow = Parallel(one=inc(by=1), two=inc(by=2) >> inc(by=2), join=total())
    assert flow.invoke(x=10) == {"x": 10, "total": 11 + 14}


def test_a_join_that_wants_a_dict_gets_the_branches_names() -> None:
    flow = Parallel(one=inc(by=1), two=inc(by=2), join=named())
    assert flow.invoke(x=0)["named"] == {"one": 1, "two": 2}


def test_only_what_the_join_returns_leaves() -> None:
    flow = Parallel(one=Scale() >> inc(), two=inc(), join=total())
    assert set(flow.invoke(x=1)) == {"x", "total"}


def test_without_a_join_different_channels_leave() -> None:
    flow = Parallel(a=inc(outputs={"x": "a"}), b=inc(by=5, outputs={"x": "b"}))
    assert flow.invoke(x=1) == {"x": 1, "a": 2, "b": 6}


def test_map_runs_once_per_item_and_keeps_their_order() -> None:
    flow = expand(n=3) >> Map(over="queries", as_="query", body=find(k=1), join=fuse())
    found = flow.invoke(query="q")
    assert [document.page_content for document in found["documents"]] == ["q0-0", "q1-0", "q2-0"]
    assert found["query"] == "q"


def test_map_without_a_join_gives_lists() -> None:
    flow = Map(over="xs", as_="x", body=inc(outputs={"x": "y"}))
    assert flow.invoke(xs=[1, 2, 3])["y"] == [2, 3, 4]
    assert flow.invoke(xs=[])["y"] == []


def test_a_route_takes_exactly_one_branch() -> None:
    flow = classify() >> Route(by="intent", cases={"short": find(k=1), "long": find(k=3)})
    assert len(flow.invoke(query="q")["documents"]) == 1
    assert len(flow.invoke(query="a long one")["documents"]) == 3


def test_a_route_by_an_operator_and_by_an_expression() -> None:
    by_operator = Route(by=classify(), cases={"short": find(k=1), "long": find(k=3)})
    assert len(by_operator.invoke(query="q")["documents"]) == 1
    by_expression = Route(by="x > 2", cases={True: inc(by=10), False: inc(by=1)})
    assert by_expression.invoke(x=3)["x"] == 13
    assert by_expression.invoke(x=1)["x"] == 2


def test_a_channel_of_some_cases_only_is_gone_after_the_route() -> None:
    flow = Route(by="x", cases={"1": Scale()}, default=inc())
    assert flow.invoke(x=1) == {"x": 2}


@pytest.mark.parametrize("turns", [1, 2, 7])
def test_a_loop_runs_exactly_max_turns(turns: int) -> None:
    assert Loop(body=inc(), max_turns=turns).invoke(x=0)["x"] == turns


def test_a_loop_ends_when_its_condition_holds() -> None:
    assert Loop(body=inc(), until="x >= 3", max_turns=10).invoke(x=0)["x"] == 3
    assert Loop(body=inc(), until="turn == 4", max_turns=10).invoke(x=0)["x"] == 4


def test_a_loop_carries_what_it_writes_to_the_next_turn() -> None:
    flow = Loop(body=inc() >> remember(), max_turns=3)
    assert flow.invoke(x=0)["seen"] == [1, 2, 3]


def test_a_loop_resets_what_is_not_carried() -> None:
    flow = Loop(body=inc() >> remember(), carry=("seen",), max_turns=3)
    assert flow.invoke(x=0) == {"x": 1, "seen": [1, 1, 1]}


def test_a_loop_keeps_its_turns_for_who_asks() -> None:
    flow = Loop(body=inc(), until="len(turns) == 3", history="turns", max_turns=9)
    assert flow.invoke(x=0) == {"x": 3, "turns": [{"x": 1}, {"x": 2}, {"x": 3}]}


def test_a_loop_inside_a_branch_inside_a_loop() -> None:
    inner = Parallel(a=Loop(body=inc(), max_turns=3), b=inc(), join=total(outputs={"total": "x"}))
    assert Loop(body=inner, max_turns=2).invoke(x=0)["x"] == (3 + 1) + 3 + (3 + 1) + 1


def test_fan_in_of_branches_of_unequal_length_runs_the_join_once() -> None:
    flow = Parallel(a=inc(), b=inc() >> inc() >> inc(), c=nap() >> inc(), join=total())
    events = list(flow.stream(x=0))
    joins = [e for e in events if isinstance(e, NodeStarted) and e.node.endswith(".join/total")]
    assert len(joins) == 1
    assert events[-1].result["total"] == 1 + 3 + 1


def test_a_route_in_a_branch_that_skips_does_not_drop_the_join() -> None:
    skip = Route(by="x > 5", cases={True: inc(by=100), False: Sequence()}) >> inc(by=0)
    flow = Parallel(a=skip, b=inc(), join=total())
    assert flow.invoke(x=1)["total"] == 1 + 2
    assert flow.invoke(x=6)["total"] == 106 + 7


def test_independent_branches_overlap() -> None:
    gate, here = threading.Barrier(8), []

    @operator(writes="x")
    def meet_in_threads(x: int) -> int:
        gate.wait(60)  # passes only if all eight are here
        return x

    @operator(writes="x")
    async def meet(x: int) -> int:
        here.append(x)
        while len(here) < 8:
            await asyncio.sleep(0)
        return x

    for step in (meet_in_threads(), meet()):
        flow = Flow(Parallel({f"b{n}": step for n in range(8)}, join=total()), inputs=INT)
        assert flow.invoke(x=1)["total"] == 8


def test_a_slow_branch_holds_up_only_its_own_join() -> None:
    joined = threading.Event()

    @operator(writes="x")
    def wait_for_the_other_join(x: int) -> int:
        assert joined.wait(60)
        return x

    @operator(writes="done")
    def release(y: int) -> int:
        joined.set()
        return y

    fast = Parallel(a=inc(), b=inc(), join=total(outputs={"total": "y"}))
    slow = Parallel(a=wait_for_the_other_join(), b=inc(), join=total(outputs={"total": "z"}))
    result = Parallel(fast=fast >> release(), slow=slow).invoke(x=1)
    assert (result["done"], result["z"]) == (4, 3)


def test_an_error_names_the_step_that_raised_and_summarises_the_channels() -> None:
    flow = inc() >> explode() >> inc()
    with pytest.raises(StepError) as caught:
        flow.invoke(x=1)
    assert caught.value.where == "explode"
    assert "ValueError: cannot do 2" in str(caught.value)
    assert caught.value.__notes__ == ["channels: x=int"]
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_step_that_returns_another_type_is_the_one_named() -> None:
    with pytest.raises(StepError, match="returned str for 'x', not int") as caught:
        (inc() >> lie() >> inc()).invoke(x=1)
    assert caught.value.where == "lie"


def test_a_failing_branch_cancels_its_siblings() -> None:
    cancelled = threading.Event()

    @operator(writes="x")
    async def forever(x: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return x

    with pytest.raises(StepError, match="cannot do"):
        Parallel(a=forever(), b=nap(seconds=0) >> explode(), join=total()).invoke(x=1)
    assert cancelled.is_set()


def test_events_tell_what_happens() -> None:
    flow = Route(by="x > 0", cases={True: inc(), False: Sequence()}) >> Loop(
        body=inc(), max_turns=2
    )
    events = list(flow.stream(x=1))
    kinds = [type(event) for event in events]
    assert kinds == [
        BranchSkipped, NodeStarted, NodeFinished, LoopTurn, NodeStarted, NodeFinished, LoopTurn,
        NodeStarted, NodeFinished, Done,
    ]  # fmt: skip
    assert events[-1].result == {"x": 4}


def test_tokens_are_streamed_from_inside_a_loop_in_a_branch() -> None:
    flow = Parallel(a=Loop(body=speak(), max_turns=2), b=find())
    tokens = [event.text for event in flow.stream(query="hey") if isinstance(event, Token)]
    assert "".join(tokens) == "heyhey"


def test_a_failed_step_is_told_before_the_error_is_raised() -> None:
    events = []
    with pytest.raises(StepError):
        events.extend(explode().stream(x=1))
    stream = explode().stream(x=1)
    seen = []
    with pytest.raises(StepError):
        for event in stream:
            seen.append(event)  # noqa: PERF402 - the error comes from the iteration
    assert [type(event) for event in seen] == [NodeStarted, NodeFailed]


def test_closing_a_stream_cancels_the_run() -> None:
    before = threading.active_count()
    stream = (inc() >> nap(seconds=60)).stream(x=1)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_a_cancelled_run_leaves_no_task() -> None:
    async def main() -> int:
        flow = Flow(Parallel(a=nap(seconds=60), b=nap(seconds=60), join=total()), inputs=INT)
        task = asyncio.create_task(flow.ainvoke(x=1))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_sync_calls_work_inside_a_running_loop() -> None:
    async def main() -> dict[str, int]:
        return (nap(seconds=0) >> inc()).invoke(x=1)

    assert asyncio.run(main()) == {"x": 2}


def test_batch_keeps_order_and_bounds_concurrency() -> None:
    flow = Flow(nap(seconds=0.01) >> inc(), inputs=INT)
    assert [r["x"] for r in flow.batch([{"x": n} for n in range(20)], concurrency=4)] == [
        n + 1 for n in range(20)
    ]


def test_one_flow_serves_many_runs_at_once() -> None:
    flow = Flow(Loop(body=nap(seconds=0) >> inc(), max_turns=5), inputs=INT)

    async def main() -> list[dict[str, int]]:
        return await asyncio.gather(*(flow.ainvoke(x=n) for n in range(1000)))

    assert [result["x"] for result in asyncio.run(main())] == [n + 5 for n in range(1000)]


def test_a_flow_is_a_step_of_another() -> None:
    inner = Flow(inc() >> Scale(), inputs=INT, outputs=["x"], name="inner")
    outer = Flow(inc() >> inner.at(inputs={"x": "x"}, outputs={"x": "y"}), inputs=INT)
    assert outer.invoke(x=0) == {"x": 1, "y": 4}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "'x' .int. is missing"),
        ({"x": "1"}, "is str, int is wanted"),
        ({"x": 1, "z": 2}, "no input 'z'"),
    ],
)
def test_inputs_are_checked(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Flow(inc(), inputs=INT).invoke(**given)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InputError, match="'query' has a lone surrogate at position 4"):
        Flow(expand()).invoke(query="lock\ud83d")
    assert Flow(expand()).invoke(query="lock\U0001f600")["query"] == "lock\U0001f600"


def test_an_input_that_may_be_none_may_be_left_out() -> None:
    flow = Flow(remember(), inputs={"x": int, "seen": list[int] | None})
    assert flow.invoke(x=1)["seen"] == [1]


def test_an_asynchronous_generator_that_waits_runs_for_every_kind_of_caller() -> None:
    @operator(writes="answer")
    async def slowly(query: str) -> AsyncIterator[str]:
        """Wait between two words."""
        for word in query.split():
            await asyncio.sleep(0)
            yield word

    flow = Flow(slowly())
    assert flow.invoke(query="a b")["answer"] == "ab"
    assert asyncio.run(flow.ainvoke(query="a b"))["answer"] == "ab"
    assert list(flow.stream(query="a b"))[-1].result["answer"] == "ab"


@operator(writes="x")
def doubt(x: int, *, ctx: RunContext) -> int:
    """Warn as long as the number is small."""
    if x < 3:
        ctx.warn(f"{x} is small")
    return x + 1


def test_a_loop_may_end_by_what_its_turn_told() -> None:
    quiet = "not any(e['event'] == 'warned' for e in events)"
    flow = Flow(Loop(body=doubt(), until=quiet, max_turns=9), inputs=INT)
    assert flow.invoke(x=0) == {"x": 4}
    turns = [event for event in flow.stream(x=0) if isinstance(event, LoopTurn)]
    assert len(turns) == 4


def test_every_event_is_a_mapping_for_who_wants_one() -> None:
    from rag.flow.run.events import as_dict

    told = [as_dict(event) for event in Flow(inc(), inputs=INT).stream(x=1)]
    assert [one["event"] for one in told] == ["node_started", "node_finished", "done"]
    assert told[1]["writes"] == {"x": 2}
