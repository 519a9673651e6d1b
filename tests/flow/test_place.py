"""Places: each node has one of its own, each occurrence too, whatever names are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import Checkpoints
from rag.errors import StepError
from rag.flow import Flow, Loop, Map, Node, Parallel, Route, RunContext, load_flow, operator
from rag.flow.place import DEPTH, ITEM, TURN, Place, segment
from rag.flow.run.events import NodeFinished, NodeStarted, Token
from rag.flow.yaml.dump import dump
from tests.flow.bricks import REGISTRY, inc, named, total
from tests.flow.test_yaml import nodes

INT = {"x": int}
ODD = ["join", "default", "fallback", ".join", ".default", "a.b", "#1", "a#1", "a@2", "a/b", "a:2"]
ODD += ["a^1", "%", "%25", "a%23", "", " ", "ä", "steps[0]"]

texts = st.one_of(st.sampled_from(ODD), st.text(max_size=5))
segments = st.builds(segment, texts, st.integers(1, 3))
places = st.lists(segments, max_size=5).map(lambda parts: Place(tuple(parts)))


@given(places)
def test_a_place_is_read_as_it_is_written(place: Place) -> None:
    assert Place.parse(str(place)) == place


@given(places, st.lists(st.tuples(st.sampled_from([ITEM, TURN]), st.integers(0, 99)), max_size=3))
def test_an_occurrence_is_read_as_written_and_knows_its_node(
    place: Place, counts: list[tuple[str, int]]
) -> None:
    occurrence = list(place)
    for index, (mark, number) in enumerate(counts[: len(place)]):
        occurrence[index] += f"{mark}{number}"
    found = Place(occurrence)
    assert Place.parse(str(found)) == found
    assert found.static == place


@given(places.filter(bool), places)
def test_behind_a_depth_of_recursion_the_place_begins_again(outer: Place, inner: Place) -> None:
    deep = Place((*outer.counted(DEPTH, 1), *inner))
    assert deep.static == inner
    assert Place.parse(str(deep)) == deep


@given(texts, texts, st.integers(1, 3), st.integers(1, 3))
def test_other_names_are_other_segments(a: str, b: str, first: int, second: int) -> None:
    same = (a, first) == (b, second)
    assert (segment(a, first) == segment(b, second)) is same


def chain(found: list[Node]) -> Node:
    chain = found[0]
    for node in found[1:]:
        chain = chain >> node
    return chain


@given(st.one_of(nodes, st.lists(nodes, min_size=2, max_size=4).map(chain)))
@settings(deadline=None, max_examples=60)
def test_no_two_nodes_of_a_flow_share_a_place(node: Node) -> None:
    flow = Flow(node, inputs={"x": int, "xs": list[int]})
    found = [str(place) for place, step in flow.walk() if step.label in ("inc", "nap", "scale")]
    assert len(found) == len(set(found))
    assert len(flow.steps) == len({str(place) for place in flow.steps})


@pytest.mark.parametrize("join", [named(), named(name="join")])
def test_branches_of_any_name_have_places_of_their_own(join: Node) -> None:
    names = [name for name in ODD if name]
    branches = Parallel({name: inc(by=n) for n, name in enumerate(names)}, join=join)
    flow = Flow(branches, inputs=INT)
    assert len(flow.steps) == len(names) + 1
    events = list(flow.stream(x=0))
    assert events[-1].result["named"] == {name: n for n, name in enumerate(names)}
    finished = {str(event.place) for event in events if isinstance(event, NodeFinished)}
    assert finished == {str(place) for place in flow.steps}
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow


def test_cases_of_any_name_have_places_of_their_own() -> None:
    names = [name for name in ODD if name]
    cases = {name: inc(by=n) for n, name in enumerate(names)}
    flow = Flow(Route(by="word", cases=cases, default=inc(by=99)), inputs={"x": int, "word": str})
    assert len(flow.steps) == len(names) + 1
    assert [flow.invoke(x=0, word=name)["x"] for name in names] == list(range(len(names)))
    assert flow.invoke(x=0, word="other")["x"] == 99


def test_a_branch_called_join_is_not_taken_for_the_join_when_a_run_is_resumed(
    tmp_path: Path,
) -> None:
    broken = [True]

    @operator(writes="x")
    def moody(x: int) -> int:
        if broken[0]:
            raise OSError("away")
        return x

    branches = Parallel({"join": inc(by=1), "a": inc(by=10)}, join=total(outputs={"total": "x"}))
    flow = Flow(branches >> moody(), inputs=INT)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(StepError):
            run.invoke()
        broken[0] = False
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 11}


@operator(writes="x")
async def tell(x: int, *, ctx: RunContext) -> int:
    """Stream where it is."""
    ctx.token(str(ctx.place))
    return x + 1


def test_two_uses_of_one_flow_are_told_apart() -> None:
    inner = Flow(tell(), inputs=INT, name="inner")
    events = list(Flow(inner.at() >> inner.at(), inputs=INT).stream(x=0))
    told = [(str(event.place), event.text) for event in events if isinstance(event, Token)]
    assert len({place for place, _ in told}) == 2
    assert all(place == text for place, text in told)


def test_items_and_turns_are_told_apart_in_events_and_errors() -> None:
    loop = Loop(body=tell(), max_turns=2)
    flow = Flow(Map(over="xs", as_="x", body=loop), inputs={"xs": list[int]})
    events = list(flow.stream(xs=[0, 10]))
    tokens = {str(event.place) for event in events if isinstance(event, Token)}
    assert tokens == {f"map#{item}/loop@{turn}/tell" for item in (0, 1) for turn in (1, 2)}
    assert {event.node for event in events if isinstance(event, NodeStarted)} == {"map/loop/tell"}
    assert len({event.run for event in events}) == 1
    assert all(one.time <= other.time for one, other in pairwise(events))

    @operator(writes="x")
    def fails_late(x: int) -> int:
        if x == 11:
            raise ValueError("too much")
        return x + 1

    body = Loop(body=fails_late(), max_turns=2)
    with pytest.raises(StepError) as caught:
        Flow(Map(over="xs", as_="x", body=body), inputs={"xs": list[int]}).invoke(xs=[0, 10])
    assert str(caught.value.place) == "map#1/loop@2/fails_late"
    assert caught.value.where == "map#1/loop@2/fails_late"


def test_the_steps_inputs_are_in_its_event() -> None:
    events: list[Any] = list(Flow(inc() >> inc(), inputs=INT).stream(x=4))
    assert [dict(e.reads) for e in events if isinstance(e, NodeStarted)] == [{"x": 4}, {"x": 5}]
