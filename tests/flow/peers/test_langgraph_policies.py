"""What LangGraph's suite holds of its graphs, with our constructs: attempts, limits, races.

Each test names the test under `libs/langgraph/tests` that it stands for.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rag.errors import StepError
from rag.flow import Flow, Guard, Map, Parallel, Race, Retry, RunContext, operator
from rag.flow.run.events import FellBack, Retried
from tests.flow.peers.bricks import add, read, stuck, total

INT = {"x": int}


def failing(times: int) -> Any:
    """A step that fails so many times."""
    left = [times]

    @operator(writes="x")
    def moody(x: int) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError("away")
        return x + 1

    return moody


@operator(writes="x")
def handle(x: int, error: str, error_type: str) -> int:
    """Make a result of an error."""
    return -len(error) if error_type == "ConnectionError" else 0


def test_attempts_then_a_handler() -> None:
    """`test_retry.py::test_graph_with_single_retry_policy`, `..._with_max_attempts_exceeded`."""
    retry = Retry(times=2, wait=0.0, on=("ConnectionError",))
    assert Flow(failing(2)(retry=retry), inputs=INT).invoke(x=0) == {"x": 1}
    flow = Flow(failing(3)(retry=retry, fallback=add(n=100)) >> add(), inputs=INT)
    events = list(flow.stream(x=0))
    assert events[-1].result == {"x": 101}
    assert sum(isinstance(event, Retried) for event in events) == 2
    assert sum(isinstance(event, FellBack) for event in events) == 1
    with pytest.raises(StepError, match="moody: ConnectionError: away"):
        Flow(failing(3)(retry=retry), inputs=INT).invoke(x=0)


def test_the_handler_sees_what_was_wrong() -> None:
    """`test_retry.py::test_graph_error_handler_runs_after_retry_exhaustion`."""
    flow = Flow(failing(2)(retry=Retry(times=1, wait=0.0), fallback=handle()) >> add(), inputs=INT)
    assert read(flow, "handle", x=5) == [
        {"x": 5, "error": "ConnectionError: away", "error_type": "ConnectionError"}
    ]
    assert Flow(failing(9)(fallback=handle()), inputs=INT).invoke(x=5) == {"x": -21}


def test_policies_of_graphs_and_of_fan_outs() -> None:
    """`test_retry.py::test_graph_error_handler_handles_subgraph_internal_failure` and others.

    A graph within a graph, a fan-out and a map have the policies of a node.
    """
    retry = Retry(times=1, wait=0.0)
    inner = Flow(failing(9)() >> add(), inputs=INT, outputs=["x"])
    assert Flow(Guard(inner, retry=retry, fallback=handle()), inputs=INT).invoke(x=0)["x"] == -21
    fan = Parallel(a=add(), b=failing(1)(), join=total())
    assert Flow(Guard(fan, retry=retry), inputs=INT).invoke(x=0)["total"] == 2
    spread = Map(over="xs", as_="x", body=failing(1)(), join=total())
    guarded = Flow(Guard(spread, retry=retry), inputs={"xs": list[int]})
    assert guarded.invoke(xs=[1, 2])["total"] == 5


def test_a_graph_and_a_fan_out_have_a_time_limit() -> None:
    """`test_retry.py::test_state_graph_add_node_timeout_e2e`, around more than one node."""
    ended: list[str] = []
    inner = Flow(add() >> stuck(ended), inputs=INT, outputs=["x"])
    with pytest.raises(StepError, match=r"took longer than 0\.05 s"):
        Flow(Guard(inner, timeout=0.05), inputs=INT).invoke(x=0)
    fan = Parallel(a=stuck(ended), b=stuck(ended), join=total())
    flow = Flow(Guard(fan, timeout=0.05, fallback=add(outputs={"x": "total"})), inputs=INT)
    assert flow.invoke(x=0)["total"] == 1
    assert ended == ["cancelled"] * 3


def test_a_plain_function_has_a_time_limit() -> None:
    """`test_retry.py::test_state_graph_compile_rejects_sync_node_timeout`: refused there.

    Here the limit holds: the run goes on without the function, which may see that it was left.
    """
    left = threading.Event()

    @operator(writes="x")
    def slow(x: int, *, ctx: RunContext) -> int:
        while not ctx.cancelled:
            threading.Event().wait(0.001)
        left.set()
        return x

    flow = Flow(slow(timeout=0.05, fallback=add(n=7)), inputs=INT)
    assert flow.invoke(x=0) == {"x": 7}
    assert left.wait(30)


def test_the_first_good_one_wins() -> None:
    """`test_pregel_async.py::test_imp_task_cancel`: what is no longer needed is cancelled.

    Done by hand there, with futures; here the first good result of several, and a quorum.
    """
    ended: list[str] = []
    race = Race(slow=stuck(ended), bad=add(n=-5), good=add(n=5), until="x > 0", winner="who")
    assert Flow(race, inputs=INT).invoke(x=0) == {"x": 5, "who": "good"}
    most = Parallel(a=add(), b=add(n=2), c=stuck(ended), quorum=2, join=total())
    assert Flow(most, inputs=INT).invoke(x=0)["total"] == 3
    assert ended == ["cancelled"] * 2
