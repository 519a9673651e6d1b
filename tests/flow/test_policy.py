"""Steps that are slow or fail, branches that may, and runs that must not use too much."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rag.errors import BudgetError, BuildError, StepError
from rag.flow import Budget, Flow, Loop, Map, Parallel, Retry, RunContext, operator
from rag.flow.run.events import BranchFailed, Done, FellBack, NodeFailed, Retried
from tests.flow.bricks import Scale, explode, inc, named, nap, total

INT = {"x": int}


def flaky(failures: int) -> type:
    """An operator that fails so many times before it works."""
    left = [failures]

    @operator(writes="x")
    def unsteady(x: int) -> int:
        if left[0]:
            left[0] -= 1
            raise ConnectionError("gone")
        return x + 1

    return unsteady


def test_a_step_that_fails_is_tried_again() -> None:
    step = flaky(2)(retry=Retry(times=2, wait=0))
    events = list(Flow(step, inputs=INT).stream(x=0))
    assert events[-1].result == {"x": 1}
    assert [event.attempt for event in events if isinstance(event, Retried)] == [1, 2]


def test_after_the_last_attempt_the_error_is_raised() -> None:
    with pytest.raises(StepError, match="ConnectionError: gone"):
        Flow(flaky(3)(retry=Retry(times=2, wait=0)), inputs=INT).invoke(x=0)


@pytest.mark.parametrize(("on", "works"), [("OSError", True), ("ValueError", False)])
def test_only_named_errors_are_worth_another_attempt(on: str, works: bool) -> None:
    flow = Flow(flaky(1)(retry=Retry(on=(on,), wait=0)), inputs=INT)
    if works:
        assert flow.invoke(x=0) == {"x": 1}
    else:
        with pytest.raises(StepError):
            flow.invoke(x=0)


def test_a_step_that_takes_too_long_is_ended() -> None:
    ended, release = threading.Event(), threading.Event()

    @operator(writes="x")
    async def forever(x: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return x

    @operator(writes="x")
    def hung(x: int) -> int:
        release.wait()
        return x

    for slow in (forever, hung):
        flow = Flow(slow(timeout=0.05), inputs=INT)
        with pytest.raises(StepError, match=r"longer than 0\.05 s") as caught:
            flow.invoke(x=0)
        assert caught.value.where == slow.use
    assert ended.is_set()
    release.set()


def test_a_fallback_runs_in_the_place_of_a_step_that_failed() -> None:
    flow = Flow(explode(fallback=inc(by=10)) >> inc(), inputs=INT)
    events = list(flow.stream(x=0))
    assert events[-1].result == {"x": 11}
    assert [type(e) for e in events if isinstance(e, NodeFailed | FellBack)] == [
        NodeFailed,
        FellBack,
    ]


def test_a_fallback_must_write_the_same_channels() -> None:
    with pytest.raises(BuildError, match="the fallback does not write 'note'"):
        Flow(Scale(fallback=inc()), inputs=INT)


def test_branches_that_fail_may_be_skipped() -> None:
    flow = Flow(
        Parallel(a=inc(), b=explode(), c=nap() >> inc(by=5), join=named(), on_error="skip"),
        inputs=INT,
    )
    events = list(flow.stream(x=0))
    assert events[-1].result["named"] == {"a": 1, "c": 5}
    assert [event.branch for event in events if isinstance(event, BranchFailed)] == ["b"]
    over = Map(over="xs", as_="x", body=inc(), join=total(), on_error="skip")
    assert Flow(over, inputs={"xs": list[int]}).invoke(xs=[1, 2])["total"] == 5


def test_when_all_branches_fail_the_run_does() -> None:
    with pytest.raises(StepError, match="cannot do"):
        Parallel(a=explode(), b=explode(), join=total(), on_error="skip").invoke(x=0)


def test_without_a_join_what_a_skipped_branch_writes_is_optional() -> None:
    @operator(writes="seen")
    def look(x: int, y: int | None = None) -> str:
        return f"{x} {y}"

    branches = Parallel(a=inc(), b=explode(outputs={"x": "y"}), on_error="skip")
    flow = Flow(branches >> look(), inputs=INT)
    assert flow.invoke(x=0)["seen"] == "1 None"
    with pytest.raises(BuildError, match="'y' may be missing: a branch of parallel"):
        Flow(branches >> inc(inputs={"x": "y"}), inputs=INT)


@operator(writes="x")
def costly(x: int, *, ctx: RunContext) -> int:
    """Use one call and ten tokens."""
    ctx.spend(llm_calls=1, tokens=10)
    return x + 1


@pytest.mark.parametrize("budget", [Budget(llm_calls=3), Budget(tokens=35)])
def test_a_run_ends_when_its_budget_is_used_up(budget: Budget) -> None:
    flow = Flow(Loop(body=costly(), max_turns=10), inputs=INT, budget=budget)
    with pytest.raises(BudgetError, match="the budget is"):
        flow.invoke(x=0)
    cheap = Flow(Loop(body=costly(), max_turns=3), inputs=INT, budget=budget)
    done = list(cheap.stream(x=0))[-1]
    assert isinstance(done, Done)
    assert (done.result, done.llm_calls, done.tokens) == ({"x": 3}, 3, 30)


def test_a_run_ends_when_its_time_is_up() -> None:
    flow = Flow(nap(seconds=5), inputs=INT, budget=Budget(seconds=0.05))
    with pytest.raises(BudgetError, match="longer than its budget"):
        flow.invoke(x=0)


def test_no_fallback_hides_a_used_up_budget() -> None:
    flow = Flow(costly(fallback=inc(), retry=Retry(wait=0)), inputs=INT, budget=Budget(tokens=5))
    with pytest.raises(BudgetError):
        flow.invoke(x=0)
