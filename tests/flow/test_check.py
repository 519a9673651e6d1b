"""What the build finds, and how it says it."""

from __future__ import annotations

import pytest

from rag.errors import BuildError
from rag.flow import Flow, Loop, Map, Node, Parallel, Route
from tests.flow.bricks import Scale, answer, expand, find, fuse, inc, remember, top, total


def problems(node: Node, **inputs: type) -> list[str]:
    with pytest.raises(BuildError) as caught:
        Flow(node, inputs=inputs or None)
    return [str(problem) for problem in caught.value.problems]


def test_a_missing_channel_names_the_port_and_the_nearest_name() -> None:
    (found,) = problems(find() >> answer(inputs={"documents": "docments"}))
    assert "answer (documents)" in found
    assert "nothing upstream writes 'docments'" in found
    assert "did you mean 'documents'?" in found


def test_all_problems_are_found_at_once() -> None:
    assert (
        len(problems(fuse() >> answer(inputs={"query": "quer"}) >> top(inputs={"wrong": "x"}))) >= 3
    )


def test_a_list_where_one_is_wanted_suggests_map() -> None:
    (found,) = problems(expand() >> find(inputs={"query": "queries"}))
    assert "list[str]" in found
    assert "Map" in found


def test_one_where_a_list_is_wanted_suggests_a_join() -> None:
    (found,) = problems(find() >> fuse())
    assert "list[Document]" in found
    assert "join" in found


def test_what_branches_write_stays_inside_without_the_join() -> None:
    flow = Parallel(a=Scale(), b=Scale(), join=total()) >> inc(inputs={"x": "note"})
    (found,) = problems(flow, x=int)
    assert "stays inside" in found


def test_a_join_that_wants_what_one_branch_does_not_write() -> None:
    flow = Parallel(a=Scale(), b=inc(), join=top(inputs={"documents": "note"}))
    (found,) = problems(flow, x=int)
    assert "'note' is list[str]" in found


def test_branches_without_a_join_may_not_clash() -> None:
    (found,) = problems(Parallel(a=inc(), b=inc()), x=int)
    assert "both write 'x'" in found


def test_a_channel_that_not_every_case_writes() -> None:
    flow = Route(by="x", cases={"1": Scale()}, default=inc()) >> answer(inputs={"query": "note"})
    found = problems(flow, x=int)
    assert "does not write it on every path: not in default" in found[0]


def test_a_route_needs_a_default_unless_its_cases_cover_the_type() -> None:
    (found,) = problems(Route(by="query", cases={"a": find()}))
    assert "default" in found


def test_a_carried_channel_may_only_be_read_with_a_default() -> None:
    flow = Loop(body=inc(inputs={"x": "total"}) >> total(inputs={"x": "xs"}), max_turns=2)
    (found,) = problems(flow, xs=list[int])
    assert "from the second turn of loop on" in found
    Flow(Loop(body=remember(), max_turns=2), inputs={"x": int})


def test_conditions_are_checked_too() -> None:
    (found,) = problems(Loop(body=inc(), until="y > 3", max_turns=2), x=int)
    assert "reads 'y'" in found
    (found,) = problems(Loop(body=inc(), until="open('x')", max_turns=2), x=int)
    assert "cannot be called" in found


def test_map_needs_a_list() -> None:
    (found,) = problems(Map(over="query", as_="q", body=find(inputs={"query": "q"})))
    assert "not a list" in found


def test_outputs_must_exist() -> None:
    with pytest.raises(BuildError, match="did you mean 'documents'"):
        Flow(find(), outputs=["document"])


def test_two_results_of_a_step_may_not_go_to_one_channel() -> None:
    (found,) = problems(Scale(outputs={"note": "x"}), x=int)
    assert "two of its results would go to 'x'" in found


def test_a_condition_may_not_measure_a_number() -> None:
    (found,) = problems(Loop(body=inc(), until="len(x) > 2", max_turns=3), x=int)
    assert "takes the length of 'x', which is int" in found
