"""What Haystack's suite holds of its pipelines, with our constructs.

Each test names the scenario of `test/core/pipeline/features/pipeline_run.feature` that it stands
for. A join with a variable number of inputs there is a `Parallel` with a join here, a cycle a
`Loop`, a router a `Route`.
"""

from __future__ import annotations

import pytest

from rag.errors import BuildError, InputError, StepError
from rag.flow import Flow, Input, Loop, Parallel, Route, Sequence, operator
from rag.flow.run.events import BranchSkipped
from tests.flow.peers.bricks import (
    add,
    create,
    double,
    gather,
    labels,
    note,
    ran,
    read,
    say,
    total,
)

INT = {"x": int}


# Lines


def test_steps_in_a_line() -> None:
    """Scenario `linear`: two additions with a doubling between, each reads what the last wrote."""
    flow = Flow(add(n=2) >> double() >> add(n=1), inputs=INT)
    assert flow.invoke(x=1) == {"x": 7}
    assert ran(flow, x=1) == ["add", "double", "add:2"]
    assert read(flow, "add:2", x=1) == [{"x": 6}]


def test_nothing_at_all() -> None:
    """Scenario `no components`: an empty pipeline runs and gives nothing."""
    flow = Flow(Sequence(), inputs={})
    assert flow.invoke() == {}
    assert ran(flow) == []


@pytest.mark.parametrize(("given", "result"), [({}, 40), ({"b": 5}, 43)])
def test_a_default_that_the_caller_may_give(given: dict[str, int], result: int) -> None:
    """Scenario `single component with a default input`, with and without its value."""

    @operator(writes="sum")
    def plus(a: int, b: int = 2) -> int:
        return a + b

    flow = Flow(plus(), inputs={"a": int, "b": Input(int, default=2)})
    assert flow.invoke(a=38, **given)["sum"] == result
    assert read(flow, "plus", a=38, **given) == [{"a": 38, "b": given.get("b", 2)}]


def test_an_input_that_may_be_left_out() -> None:
    """Scenario `component with only default inputs`: what nobody gives has its default."""

    @operator(writes="documents")
    def retrieve(query: str, k: int = 3) -> list[str]:
        return [query] * k

    flow = Flow(retrieve(), inputs={"query": Input(str, default="all"), "k": Input(int, 2)})
    assert flow.invoke()["documents"] == ["all", "all"]
    assert flow.invoke(query="q", k=1)["documents"] == ["q"]
    assert Flow(retrieve()).invoke(query="q")["documents"] == ["q"] * 3
    with pytest.raises(InputError, match="'k' is str"):
        flow.invoke(k="many")


def test_intermediate_outputs_of_a_line() -> None:
    """Scenario `linear and returns intermediate outputs`: each step's result, by the step."""
    flow = Flow(add(n=2) >> double(name="twice") >> add(n=1), inputs=INT)
    record = flow.run(x=1)
    assert {str(one.place): one.writes for one in record.occurrences} == {
        "add": {"x": 3},
        "twice": {"x": 6},
        "add:2": {"x": 7},
    }
    assert record.outputs == {"x": 7}


# Loops


def remainder(one: Sequence, two: Sequence) -> Flow:
    """Until three divides the number, correct it by one of two ways."""
    fix = Route(by="x % 3", cases={"1": one, "2": two}, default=Sequence())
    return Flow(Loop(body=Sequence(), until="x % 3 == 0", between=fix, max_turns=2), inputs=INT)


@pytest.mark.parametrize(("x", "steps"), [(0, []), (3, []), (4, ["add"]), (5, ["add"]), (6, [])])
def test_two_loops_of_one_length(x: int, steps: list[str]) -> None:
    """Scenario `two loops of identical lengths`: two ways back to one point, a step each."""
    flow = remainder(Sequence(add(n=2)), Sequence(add(n=1)))
    assert flow.invoke(x=x) == {"x": x + (-x % 3)}
    assert labels(ran(flow, x=x)) == steps


@pytest.mark.parametrize(
    ("x", "steps"), [(0, []), (3, []), (4, ["add", "add:2"]), (5, ["add"]), (6, [])]
)
def test_two_loops_of_different_lengths(x: int, steps: list[str]) -> None:
    """Scenario `two loops of different lengths`: one way back has two steps, the other one."""
    flow = remainder(add(n=1) >> add(n=1), Sequence(add(n=1)))
    assert flow.invoke(x=x) == {"x": x + (-x % 3)}
    assert labels(ran(flow, x=x)) == steps


def test_what_the_turns_of_a_loop_wrote() -> None:
    """Scenario `loop and returns intermediate outputs from it`: of every turn, not the last."""
    loop = Loop(body=add(n=3), until="x >= 10", history="turns", max_turns=9)
    flow = Flow(add(n=1) >> loop >> add(n=2), inputs=INT)
    assert flow.invoke(x=3) == {"x": 12, "turns": [{"x": 7}, {"x": 10}]}
    record = flow.run(x=3)
    assert [one.writes for one in record.at("loop/add")] == [{"x": 7}, {"x": 10}]
    assert [str(one.place) for one in record.occurrences] == [
        "add",
        "loop@1/add",
        "loop@2/add",
        "add:2",
    ]


def test_feedback_of_a_judge_reaches_the_next_draft() -> None:
    """Scenario `feedback loop`: code is written, judged, and rewritten with the judge's words."""

    @operator(writes="code")
    def write(task: str, feedback: str | None = None) -> str:
        return f"{task}, mended" if feedback else task

    @operator(writes="feedback")
    def judge(code: str) -> str:
        return "PASS" if code.endswith("mended") else "FAIL: it does not run"

    loop = Loop(body=write() >> judge(), until="feedback == 'PASS'", max_turns=100)
    flow = Flow(loop, inputs={"task": str}, outputs=["code"])
    assert flow.invoke(task="draw a tree") == {"code": "draw a tree, mended"}
    assert read(flow, "write", task="draw a tree") == [
        {"task": "draw a tree"},
        {"task": "draw a tree", "feedback": "FAIL: it does not run"},
    ]


def test_a_loop_is_left_in_its_middle() -> None:
    """Scenario `two branches, one of which loops back`: the check stands before the way back.

    The number is compared, and only if it is still small, added to and accumulated; then it is
    compared again. What was accumulated goes on from turn to turn.
    """

    @operator(writes=("x", "state"))
    def accumulate(x: int, state: int = 0) -> tuple[int, int]:
        return state + x, state + x

    back = add(n=1) >> accumulate()
    flow = Flow(
        Loop(body=add(n=0), until="x >= 10", between=back, max_turns=10) >> add(n=2), inputs=INT
    )
    assert flow.invoke(x=8)["x"] == 21
    assert read(flow, "loop/.between/add", x=8) == [{"x": 8}, {"x": 9}]
    assert read(flow, "loop/.between/accumulate", x=8) == [{"x": 9}, {"x": 10, "state": 9}]
    assert labels(ran(flow, x=12)) == ["add", "add"]


def test_an_accumulator_in_one_branch_of_a_loop() -> None:
    """Scenario `single loop with two conditional branches`: one branch keeps a sum."""

    @operator(writes="state")
    def accumulate(x: int, state: int = 0) -> int:
        return state + x

    body = add(n=1) >> Route(by="x % 2 == 0", cases={True: accumulate(), False: Sequence()})
    flow = Flow(Loop(body=body, until="x >= 6", max_turns=9), inputs=INT, outputs=["x", "state"])
    assert flow.invoke(x=0) == {"x": 6, "state": 2 + 4 + 6}
    assert flow.invoke(x=6) == {"x": 7}


def test_used_up_turns_are_an_error_where_wanted() -> None:
    """Scenario `infinite loop`: raises where a component would run more often than allowed.

    `on_max_turns="fail"` does; where a best effort is wanted, `satisfied` says which it was.
    """
    endless = Loop(body=add(), until="x < 0", max_turns=3, on_max_turns="fail")
    with pytest.raises(StepError, match="does not hold after 3 turns"):
        Flow(endless, inputs=INT).invoke(x=0)
    loop = Loop(body=add(), until="x >= 3", max_turns=3, satisfied="enough")
    flow = Flow(loop, inputs=INT)
    assert flow.invoke(x=0) == {"x": 3, "enough": True}
    assert flow.invoke(x=-1) == {"x": 2, "enough": False}


# Branches and joins


def test_branches_of_unequal_length_meet() -> None:
    """Scenario `multiple branches of different lengths that merge` (the join waits for all)."""
    flow = Flow(
        Parallel(short=add(n=2), long=add(n=2) >> add(n=2), join=total())
        >> add(n=1, inputs={"x": "total"}),
        inputs=INT,
    )
    assert flow.invoke(x=1)["x"] == 3 + 5 + 1
    assert read(flow, "total", x=1) == [{"x": [3, 5]}]


def test_a_join_gets_a_step_and_its_successor() -> None:
    """Scenario `branches that merge into a component with a single variadic input`.

    A step's result goes to the join, and to another step whose result goes there as well: the
    empty branch.
    """
    flow = Flow(add(n=1) >> Parallel(before=Sequence(), after=add(n=10), join=total()), inputs=INT)
    assert flow.invoke(x=1)["total"] == 2 + 12
    assert read(flow, "total", x=1) == [{"x": [2, 12]}]


@pytest.mark.parametrize("wanted", [["first", "third"], ["second"], []])
def test_a_join_of_branches_that_may_not_write(wanted: list[str]) -> None:
    """Scenarios `variadic component that receives partial inputs` and `a conditional input`.

    Three creators, each behind a condition of its own, and a direct one: the join gets the
    lists that were written, in the order of the branches.
    """
    branches = {
        name: Route(by=f"'{name}' in wanted", cases={True: create(text=name), False: Sequence()})
        for name in ("first", "second", "third")
    }
    flow = Flow(
        Parallel({**branches, "always": create(text="always")}, join=gather()),
        inputs={"wanted": list[str]},
    )
    found = flow.invoke(wanted=wanted)["documents"]
    assert [document.page_content for document in found] == [*wanted, "always"]
    assert len(read(flow, "gather", wanted=wanted)[0]["documents"]) == len(wanted) + 1


def test_a_join_gets_what_all_branches_rewrote_and_what_was_before() -> None:
    """Scenario `combinations of branches that merge and do not merge`: the type decides.

    Both branches rewrite the query and search. The join reads the lists of documents collected,
    and the query, as it wants one text, as the user wrote it. Another step in a branch changes
    nothing of that.
    """

    @operator(writes="query")
    def rewrite(query: str, *, to: str) -> str:
        return f"{query} {to}"

    @operator(writes="documents")
    def search(query: str) -> list[str]:
        return [f"about {query}"]

    @operator(writes="answer")
    def answer(query: str, documents: list[list[str]]) -> str:
        return f"{query}: {documents}"

    @operator(writes="answer")
    def compare(query: list[str]) -> str:
        return " / ".join(query)

    one, two = rewrite(to="1") >> search(), rewrite(to="2") >> search()
    flow = Flow(Parallel(one=one, two=two, join=answer()), outputs=["answer"])
    assert flow.invoke(query="q") == {"answer": "q: [['about q 1'], ['about q 2']]"}
    longer = Flow(Parallel(one=one, two=two >> rewrite(to="3"), join=answer()), outputs=["answer"])
    assert longer.invoke(query="q") == flow.invoke(query="q")
    both = Flow(Parallel(one=one, two=two, join=compare()), outputs=["answer"])
    assert both.invoke(query="q") == {"answer": "q 1 / q 2"}


def test_a_branch_that_may_fail_has_a_channel_of_its_own() -> None:
    """Scenario `default inputs that doesn't receive anything from its sender`.

    Whoever may get nothing has a default; the other branch does not wait for it to be there.
    """

    @operator(writes="web")
    def web(x: int) -> str:
        if x < 0:
            raise OSError("no network")
        return f"web {x}"

    @operator(writes="answer")
    def join_up(local: str, web: str = "none") -> str:
        return f"{local}, {web}"

    local = say(outputs={"answer": "local"})
    flow = Flow(
        local >> Parallel(web=web(), notes=note(text="n"), on_error="skip") >> join_up(),
        inputs=INT,
        outputs=["answer"],
    )
    assert flow.invoke(x=1) == {"answer": "it is 1, web 1"}
    assert flow.invoke(x=-1) == {"answer": "it is -1, none"}


def test_what_only_one_case_writes_leaves_the_route() -> None:
    """Scenarios `two branches that don't merge` and `three branches that don't merge`.

    Each branch ends in an output of its own; a run gives those of the branch that ran.
    """
    flow = Flow(
        Route(
            by="x % 2 == 0",
            cases={True: add(n=4, outputs={"x": "even"}), False: double(outputs={"x": "odd"})},
        ),
        inputs=INT,
        outputs=["even", "odd"],
    )
    assert flow.invoke(x=2) == {"even": 6}
    assert flow.invoke(x=3) == {"odd": 6}
    skipped = [event.branch for event in flow.stream(x=3) if isinstance(event, BranchSkipped)]
    assert skipped == ["true"]
    after = flow.node >> say(inputs={"x": "even"}, text="odd, it seems")
    assert Flow(after, inputs=INT, outputs=["answer"]).invoke(x=3) == {"answer": "odd, it seems"}
    with pytest.raises(BuildError, match="'even' may be missing"):
        Flow(flow.node >> add(inputs={"x": "even"}), inputs=INT)


# Isolation


def test_what_a_step_does_to_its_list_is_seen_by_nobody_else() -> None:
    """Scenarios `mutable input` and `mutable output sent to multiple inputs`."""

    @operator(writes="items")
    def spoil(items: list[str]) -> list[str]:
        items.append("extra")
        return items

    given = ["foo", "bar"]
    flow = Flow(
        Parallel(a=spoil(outputs={"items": "a"}), b=spoil(outputs={"items": "b"})),
        inputs={"items": list[str]},
    )
    assert flow.invoke(items=given) == {
        "items": ["foo", "bar"],
        "a": ["foo", "bar", "extra"],
        "b": ["foo", "bar", "extra"],
    }
    assert given == ["foo", "bar"]
    assert read(flow, "spoil", items=given) == [{"items": ["foo", "bar"]}] * 2
