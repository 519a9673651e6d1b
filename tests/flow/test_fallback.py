"""What a fallback may write, and what it is told of the failure."""

from __future__ import annotations

import pytest

from rag.errors import BuildError, StepError
from rag.flow import Flow, Guard, Parallel, operator
from rag.flow.run.events import FellBack
from tests.flow.bricks import explode, inc, total

INT = {"x": int}


@operator(writes="a")
def broken(query: str) -> str:
    """Fail."""
    raise OSError("away")


@operator(writes=("a", "query"))
def greedy(query: str) -> tuple[str, int]:
    """Write one channel more than it may."""
    return f"{query}!", 3


@operator(writes="loud")
def loud(query: str) -> str:
    """Need a text."""
    return query.upper()


@operator(writes="x")
def report(error: str, error_type: str) -> int:
    """Read what was wrong."""
    REPORTS.append((error, error_type))
    return -1


REPORTS: list[tuple[str, str]] = []


def test_a_fallback_of_a_step_overwrites_nothing_that_the_step_does_not_write() -> None:
    flow = Flow(broken(fallback=greedy()) >> loud())
    assert flow.invoke(query="q") == {"query": "q", "a": "q!", "loud": "Q"}


def test_nor_does_one_of_a_guarded_part() -> None:
    flow = Flow(Guard(broken() >> loud(), fallback=greedy() >> loud(inputs={"query": "a"})))
    result = flow.invoke(query="q")
    assert (result["query"], result["a"], result["loud"]) == ("q", "q!", "Q!")


def test_what_the_fallback_of_a_part_does_not_write_is_optional() -> None:
    guarded = Guard(broken() >> loud(), fallback=greedy())
    assert "loud" not in Flow(guarded).output_types
    with pytest.raises(BuildError, match="'loud' may be missing"):
        Flow(guarded >> loud(inputs={"query": "loud"}, outputs={"loud": "louder"}))


def test_a_fallback_reads_what_was_wrong() -> None:
    REPORTS.clear()
    assert Flow(explode(fallback=report()), inputs=INT).invoke(x=4) == {"x": -1}
    part = Guard(inc() >> explode(), fallback=report())
    assert Flow(part, inputs=INT).invoke(x=4) == {"x": -1}
    assert REPORTS == [
        ("ValueError: cannot do 4", "ValueError"),
        ("ValueError: cannot do 5", "ValueError"),
    ]


def test_what_was_wrong_is_known_to_the_fallback_only() -> None:
    flow = Flow(explode(fallback=report()), inputs=INT)
    assert "error" not in flow.output_types
    assert "error" not in flow.invoke(x=1)
    with pytest.raises(BuildError, match="nothing upstream writes 'error'"):
        Flow(explode(fallback=report()) >> report(), inputs=INT)


def test_a_channel_of_the_caller_called_error_is_the_callers_again_behind() -> None:
    flow = Flow(explode(fallback=report()), inputs={"x": int, "error": str})
    assert flow.invoke(x=1, error="mine") == {"x": -1, "error": "mine"}


def test_a_fallback_of_a_fallback_is_told_the_second_failure() -> None:
    REPORTS.clear()
    flow = Flow(explode(fallback=explode(name="again", fallback=report())), inputs=INT)
    events = list(flow.stream(x=1))
    assert events[-1].result == {"x": -1}
    assert [str(event.place) for event in events if isinstance(event, FellBack)] == [
        "explode",
        "explode/.fallback/again",
    ]
    assert len(REPORTS) == 1


def test_a_fallback_that_fails_names_its_own_place() -> None:
    with pytest.raises(StepError, match="cannot do 1") as caught:
        Flow(inc(fallback=inc()) >> explode(fallback=explode()), inputs=INT).invoke(x=0)
    assert str(caught.value.place) == "explode/.fallback/explode"


def test_the_fallback_of_a_parallel_stands_for_all_of_it() -> None:
    branches = Parallel(a=inc(), b=explode(), join=total(outputs={"total": "x"}))
    flow = Flow(Guard(branches, fallback=inc() >> inc()) >> inc(), inputs=INT)
    assert flow.invoke(x=0) == {"x": 3}
