"""Which case of a route is taken, and when its cases are all there are."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, Literal

import pytest

from rag.errors import BuildError
from rag.flow import Flow, Route, load_flow, operator
from rag.flow.registry import Registry
from rag.flow.run.events import BranchSkipped
from rag.flow.yaml.dump import dump
from tests.flow.bricks import REGISTRY, inc


class Colour(Enum):
    """Of a lamp."""

    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    """How high."""

    LOW = 1
    HIGH = 2


def by(number: int) -> Any:
    """A branch that is told by what it adds."""
    return inc(by=number)


def taken(flow: Flow, **inputs: Any) -> int:
    return int(flow.invoke(x=0, **inputs)["x"])


def test_a_case_called_default_stands_beside_the_default() -> None:
    route = Route(by="word", cases={"default": by(1)}, default=by(2))
    flow = Flow(route, inputs={"x": int, "word": str})
    assert (taken(flow, word="default"), taken(flow, word="other")) == (1, 2)
    assert len({str(place) for place in flow.steps}) == 2
    for word, operators in (("default", 1), ("other", 2)):
        events = list(flow.stream(x=0, word=word))
        assert events[-1].result["x"] == operators
        assert sum(isinstance(event, BranchSkipped) for event in events) == 1
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow


@pytest.mark.parametrize("text", ["len(word)", "word", "number", "flag and number", "1"])
def test_true_and_false_are_all_cases_only_of_a_truth_value(text: str) -> None:
    inputs = {"x": int, "word": str, "number": int, "flag": bool}
    with pytest.raises(BuildError, match="other values have no branch"):
        Flow(Route(by=text, cases={True: by(1), False: by(2)}), inputs=inputs)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("flag", 1), ("number > 3", 2), ("not flag", 2), ("flag and number < 3", 1), ("any([])", 2)],
)
def test_expressions_that_are_truth_values_need_no_default(text: str, wanted: int) -> None:
    route = Route(by=text, cases={True: by(1), False: by(2)})
    flow = Flow(route, inputs={"x": int, "flag": bool, "number": int})
    assert taken(flow, flag=True, number=2) == wanted


def test_members_of_an_enum_are_named_by_their_values_and_are_all_there_are() -> None:
    both: dict[Any, Any] = {Colour.RED: by(1), "green": by(2)}
    flow = Flow(Route(by="colour", cases=both), inputs={"x": int, "colour": Colour})
    assert (taken(flow, colour=Colour.RED), taken(flow, colour=Colour.GREEN)) == (1, 2)
    with pytest.raises(BuildError, match="no case for green"):
        Flow(Route(by="colour", cases={"red": by(1)}), inputs={"x": int, "colour": Colour})
    levels = Route(by="level", cases={1: by(1), Level.HIGH: by(2)})
    flow = Flow(levels, inputs={"x": int, "level": Level})
    assert (taken(flow, level=Level.LOW), taken(flow, level=Level.HIGH)) == (1, 2)


@operator(writes="colour")
def paint(x: int) -> Colour:
    """Choose."""
    return Colour.RED if x == 0 else Colour.GREEN


def test_a_pipeline_file_names_the_members_too() -> None:
    text = """
    inputs: {x: int}
    steps:
      - route:
          by: {use: paint}
          cases:
            red: [{use: inc, by: 1}]
            green: [{use: inc, by: 2}]
    """
    flow = load_flow(text, registry=Registry({"paint": paint, "inc": inc}))
    assert taken(flow) == 1


@operator(writes="kind")
def classify(x: int) -> Literal["a", "b"]:
    """Say a."""
    return "a"


def test_a_literal_that_a_step_writes_is_exhaustive() -> None:
    flow = Flow(Route(by=classify(), cases={"a": by(1), "b": by(2)}), inputs={"x": int})
    assert taken(flow) == 1
    with pytest.raises(BuildError, match="no case for b"):
        Flow(Route(by=classify(), cases={"a": by(1)}), inputs={"x": int})
