"""Operators and flows as values: copied, pickled, compared."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from rag.flow import Budget, Flow, Input, Node, Parallel, Route
from tests.flow.bricks import Scale, inc, total

INT = {"x": int}
BUDGET = Budget(llm_calls=3)
NODES: list[Node] = [
    inc(by=2),
    Scale(factor=3, fallback=Scale()),
    inc() >> inc(by=5),
    Parallel(a=inc(), b=inc(by=7), join=total(outputs={"total": "x"})),
    Route(by="x > 1", cases={True: inc(), False: inc(by=10)}),
    inc() >> Flow(inc(), inputs=INT).at(outputs={"x": "y"}),
]


def test_a_copy_with_another_configuration_runs_with_it() -> None:
    step = inc(by=1)
    assert step.invoke(x=0) == {"x": 1}
    other = step.model_copy(update={"by": 5})
    assert other.invoke(x=0) == {"x": 5}
    assert step.invoke(x=0) == {"x": 1}
    assert step.model_copy(deep=True).invoke(x=0) == {"x": 1}


@pytest.mark.parametrize("node", NODES, ids=lambda node: type(node).__name__)
def test_nodes_are_copied_and_pickled_also_after_they_ran(node: Node) -> None:
    flow = Flow(node, inputs=INT)
    result = flow.invoke(x=1)
    copies = [copy.copy(node), copy.deepcopy(node), pickle.loads(pickle.dumps(node))]  # noqa: S301
    for other in copies:
        assert other == node
        assert Flow(other, inputs=INT).invoke(x=1) == result


@pytest.mark.parametrize("node", NODES, ids=lambda node: type(node).__name__)
def test_flows_are_copied_and_pickled_also_after_they_ran(node: Node) -> None:
    inputs = {"x": int, "k": Input(int, 20)}
    flow = Flow(node, name="f", description="d", inputs=inputs, outputs=["x", "k"], budget=BUDGET)
    result = flow.invoke(x=1)
    assert result["k"] == 20
    for other in (copy.copy(flow), copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):  # noqa: S301
        assert other == flow
        assert (other.name, other.description, other.budget) == ("f", "d", BUDGET)
        assert other.invoke(x=1) == result


def test_a_flow_runs_in_another_process() -> None:
    flow = Flow(inc(by=4) >> inc(), inputs=INT)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(flow.invoke, x=1).result(timeout=120) == {"x": 6}


def test_a_changed_copy_of_a_flow_leaves_the_flow_alone() -> None:
    flow = Flow(inc(), inputs=INT)
    other = flow.with_node(inc(by=9))
    assert flow.invoke(x=0) == {"x": 1}
    assert other.invoke(x=0) == {"x": 9}
    assert other != flow
