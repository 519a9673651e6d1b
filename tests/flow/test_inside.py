"""What a step does in the middle of its work: questions to a person, other flows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import (
    BudgetError,
    BuildError,
    ConfigError,
    InputError,
    Interrupted,
    StepError,
)
from rag.flow import (
    Budget,
    Flow,
    Interrupt,
    Map,
    Parallel,
    Resource,
    RunContext,
    load_flow,
    operator,
)
from rag.flow.memory.checkpoints import Checkpoints
from rag.flow.run.events import NodeStarted, Token, Waiting
from rag.flow.yaml.dump import dump
from tests.flow.bricks import REGISTRY, inc, speak

INT = {"x": int}


@operator(writes="x")
async def ask(x: int, *, ctx: RunContext) -> int:
    """Let a person correct the value."""
    return int((await ctx.interrupt("Right?", x=x))["x"])


# Questions


def test_a_step_asks_and_gets_what_the_person_left(where: str) -> None:
    flow = Flow(inc() >> ask() >> inc(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(Interrupted, match=r"ask/\.interrupt: Right\?"):
            run.invoke()
        assert checkpoints.get(run.id).status == "waiting"
    with Checkpoints(where) as checkpoints:
        (stop,) = checkpoints.resume(flow, run.id).stops
        assert (stop.message, stop.channels, stop.node) == ("Right?", {"x": 1}, "ask")
        with pytest.raises(InputError, match="'x' is str, int is wanted"):
            checkpoints.resume(flow, run.id, x="ten")
        with pytest.raises(InputError, match="'y' may not be set"):
            checkpoints.resume(flow, run.id, y=1)
        assert checkpoints.resume(flow, run.id, x=10).invoke() == {"x": 11}
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 11}


def test_resuming_a_step_without_a_change_approves(where: str) -> None:
    flow = Flow(ask(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=4)
        assert isinstance(list(run.stream())[-1], Waiting)
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 4}


def test_an_answer_counts_for_the_question_that_it_was_given_to(where: str) -> None:
    drafts = iter(["one", "two", "two"])

    @operator(writes="sent")
    async def send(x: int, *, ctx: RunContext) -> str:
        return str((await ctx.interrupt("Send this?", draft=next(drafts)))["draft"])

    flow = Flow(send(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=1)
        with pytest.raises(Interrupted):
            run.invoke()
        with pytest.raises(Interrupted) as again:
            checkpoints.resume(flow, run.id).invoke()
        assert again.value.stops[0].channels == {"draft": "two"}
        assert checkpoints.resume(flow, run.id).invoke()["sent"] == "two"


def test_answers_behind_what_ran_anew_do_not_count(where: str) -> None:
    def flow(by: int) -> Flow:
        return Flow(inc(by=by) >> ask(inputs={"x": "y"}), inputs={"x": int, "y": int})

    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow(1), x=0, y=5)
        with pytest.raises(Interrupted):
            run.invoke()
        assert checkpoints.resume(flow(1), run.id, x=7).invoke()["x"] == 7
        with pytest.raises(Interrupted):
            checkpoints.resume(flow(2), run.id).invoke()


def test_a_question_without_a_checkpoint_is_an_error() -> None:
    with pytest.raises(StepError, match="nothing would store the run"):
        Flow(ask(), inputs=INT).invoke(x=1)


def test_a_refusal_is_a_channel(where: str) -> None:
    stop = Interrupt("Send this?", show="query", answer="approved")
    flow = Flow(stop >> speak(), outputs=["approved", "answer"])
    with Checkpoints(where) as checkpoints:
        for given, wanted in (({}, True), ({"approved": False}, False)):
            run = checkpoints.start(flow, query="q")
            with pytest.raises(Interrupted) as pause:
                run.invoke()
            assert pause.value.stops[0].channels == {"query": "q", "approved": True}
            assert checkpoints.resume(flow, run.id, given).invoke()["approved"] is wanted
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow


# Flows within steps


class Service(Resource):
    """Something that is opened once."""


@operator(writes="x")
def which(x: int, *, service: Service) -> int:
    """Count the services."""
    return x + isinstance(service, Service)


@operator(writes="x")
async def twice(x: int, *, flow: object, ctx: RunContext) -> int:
    """Run a flow two times."""
    first = await ctx.run(flow, x=x)  # type: ignore[arg-type]
    return int((await ctx.run(flow, **first))["x"])  # type: ignore[arg-type]


def test_a_step_runs_a_flow_and_its_events_are_the_runs() -> None:
    inner = Flow(inc(by=5), inputs=INT)
    flow = Flow(Map(over="xs", as_="x", body=twice(flow=inner)), inputs={"xs": list[int]})
    events = list(flow.stream(xs=[0, 100]))
    assert events[-1].result["x"] == [10, 110]
    starts = [e for e in events if isinstance(e, NodeStarted) and "inc" in str(e.place)]
    assert {str(event.place) for event in starts} == {
        f"map#{item}/twice/.run#{number}/inc" for item in (0, 1) for number in (0, 1)
    }
    assert len({event.run for event in events}) == 1


def test_tokens_of_a_flow_within_a_step_are_streamed() -> None:
    inner = Flow(speak())

    @operator(writes="answer")
    async def outer(query: str, *, ctx: RunContext) -> str:
        return str((await ctx.run(inner, query=query))["answer"])

    events = Flow(outer()).stream(query="ab")
    assert [event.text for event in events if isinstance(event, Token)] == ["a", "b"]


def test_a_flow_within_a_step_counts_towards_the_budget() -> None:
    @operator(writes="x")
    def spend(x: int, *, ctx: RunContext) -> int:
        ctx.spend(llm_calls=1)
        return x

    inner = Flow(spend(), inputs=INT)
    with pytest.raises(BudgetError, match="2 llm_calls were used"):
        Flow(twice(flow=inner), inputs=INT, budget=Budget(llm_calls=1)).invoke(x=0)
    own = Flow(spend() >> spend(), inputs=INT, budget=Budget(llm_calls=1))
    with pytest.raises(BudgetError, match="the budget is 1"):
        Flow(twice(flow=own), inputs=INT).invoke(x=0)


def test_a_flow_within_a_step_inherits_resources() -> None:
    inner = Flow(which(), inputs=INT)
    assert Flow(twice(flow=inner), inputs=INT, resources={"service": Service()}).invoke(x=0) == {
        "x": 2
    }
    flow = Flow(
        Parallel(a=twice(flow=inner), b=which(outputs={"x": "y"})),
        inputs=INT,
        resources={"service": Service()},
    )
    assert flow.invoke(x=0) == {"x": 2, "y": 1}


def test_what_a_flow_within_a_step_finished_is_not_run_twice(where: str) -> None:
    broken, calls = [True], []

    @operator(writes="x")
    def costly(x: int) -> int:
        calls.append(x)
        return x + 1

    inner = Flow(costly(), inputs=INT)

    @operator(writes="x")
    async def outer(x: int, *, ctx: RunContext) -> int:
        first = await ctx.run(inner, x=x)
        if broken[0]:
            raise OSError("away")
        return int((await ctx.run(inner, **first))["x"])

    flow = Flow(outer(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(StepError, match="away"):
            run.invoke()
        broken[0] = False
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 2}
    assert calls == [0, 1]


def test_a_call_with_other_inputs_runs_again(where: str) -> None:
    given, calls = iter([1, 2, 2]), []

    @operator(writes="x")
    def costly(x: int) -> int:
        calls.append(x)
        return x * 10

    inner = Flow(costly(), inputs=INT)

    @operator(writes="x")
    async def outer(x: int, *, ctx: RunContext) -> int:
        found = (await ctx.run(inner, x=next(given)))["x"]
        await ctx.interrupt("Go on?")
        return int(found)

    flow = Flow(outer(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(Interrupted):
            run.invoke()
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 20}
    assert calls == [1, 2]


def test_steps_of_a_flow_within_a_step_may_ask(where: str) -> None:
    flow = Flow(twice(flow=Flow(ask(), inputs=INT)), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run, asked = checkpoints.start(flow, x=1), []
        for answer in (2, 3):
            with pytest.raises(Interrupted) as pause:
                run.invoke()
            (stop,) = pause.value.stops
            asked.append((str(stop.place), stop.channels["x"]))
            run = checkpoints.resume(flow, run.id, x=answer)
        assert run.invoke() == {"x": 3}
    assert asked == [
        ("twice/.run#0/ask/.interrupt", 1),
        ("twice/.run#1/ask/.interrupt", 2),
    ]


def test_a_flow_that_pauses_by_itself_is_refused_within_a_step() -> None:
    inner = Flow(Interrupt("?", edit="x"), inputs=INT)
    with pytest.raises(StepError, match="cannot be run from within a step"):
        Flow(twice(flow=inner), inputs=INT).invoke(x=0)


def test_wrong_inputs_of_a_flow_within_a_step_are_an_error() -> None:
    @operator(writes="x")
    async def wrong(x: int, *, ctx: RunContext) -> int:
        return int((await ctx.run(Flow(inc(), inputs=INT), y=x))["x"])

    with pytest.raises(StepError, match="wrong: the flow has no input 'y'"):
        Flow(wrong(), inputs=INT).invoke(x=0)


def test_the_configuration_of_a_run_is_of_its_own_steps() -> None:
    flow = Flow(inc() >> twice(flow=Flow(inc(), inputs=INT)), inputs=INT)
    assert flow.invoke(x=0, config={"inc": {"by": 100}}) == {"x": 102}


def test_behind_what_ran_anew_a_flow_within_a_step_runs_again(where: str) -> None:
    def flow(by: int) -> Flow:
        first = inc(by=by, outputs={"x": "other"})
        return Flow(first >> twice(flow=Flow(inc(), inputs=INT)) >> ask(), inputs=INT)

    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow(1), x=0)
        with pytest.raises(Interrupted):
            run.invoke()
        events = list(checkpoints.resume(flow(2), run.id).stream())
    again = [str(event.place) for event in events if isinstance(event, NodeStarted)]
    assert again == ["inc", "twice", "twice/.run#0/inc", "twice/.run#1/inc", "ask"]


# Parts that are done once


@operator(writes="x")
async def parts(x: int, *, ctx: RunContext) -> int:
    """Two parts; the second fails until it is mended."""

    async def first() -> int:
        DONE.append("first")
        return x + 1

    async def second() -> int:
        DONE.append("second")
        if BROKEN:
            raise RuntimeError("no power")
        return one + 1

    one = await ctx.once("first", int, first, x=x)
    return await ctx.once("second", int, second, x=one)


DONE: list[str] = []
BROKEN: list[bool] = []


@pytest.fixture
def done() -> list[str]:
    DONE.clear()
    BROKEN[:] = [True]
    return DONE


def test_a_part_that_was_done_is_not_done_again(where: str, done: list[str]) -> None:
    flow = Flow(parts(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(StepError, match="no power"):
            run.invoke()
        BROKEN.clear()
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 2}
    assert done == ["first", "second", "second"]


def test_without_a_stored_run_a_part_is_simply_done(done: list[str]) -> None:
    BROKEN.clear()
    flow = Flow(parts(), inputs=INT)
    assert flow.invoke(x=1) == flow.invoke(x=1) == {"x": 3}
    assert done == ["first", "second"] * 2


@operator(writes="x")
async def depends(x: int, *, ctx: RunContext) -> int:
    """A part whose input is another one after the interruption."""

    async def work() -> int:
        DONE.append("work")
        return len(DONE)

    found = await ctx.once("part", int, work, broken=bool(BROKEN))
    await ctx.interrupt("Right?", x=x)
    return found


def test_a_part_with_other_inputs_is_done_again(where: str, done: list[str]) -> None:
    flow = Flow(depends(), inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(Interrupted):
            run.invoke()
        BROKEN.clear()
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 2}
    assert done == ["work", "work"]


# What budgets still allow


@operator(writes="left")
def look(x: int, *, ctx: RunContext) -> list[object]:
    """Spend, and see what is left."""
    ctx.spend(llm_calls=x, tokens=10 * x)
    left = ctx.left()
    return [left.llm_calls, left.tokens, left.seconds is None]


@pytest.mark.parametrize(
    ("run", "step", "left"),
    [
        (None, None, [None, None, True]),
        ({"llm_calls": 5}, None, [3, None, True]),
        ({"llm_calls": 5, "tokens": 90}, {"llm_calls": 3}, [1, 70, True]),
        ({"llm_calls": 2}, {"llm_calls": 3, "seconds": 60}, [0, None, False]),
    ],
)
def test_the_tightest_budget_says_what_is_left(
    run: dict[str, int] | None, step: dict[str, int] | None, left: list[object]
) -> None:
    budget = None if run is None else Budget.model_validate(run)
    flow = Flow(look(budget=step), inputs=INT, budget=budget)
    assert flow.invoke(x=2)["left"] == left


# Resources that take resources


class Lamp(Resource):
    """A light."""

    default = "oil"

    @classmethod
    def open(cls, spec: object, *, base: Path) -> Lamp:
        return cls()


class Tower(Resource):
    """What has a lamp, unless it is dark."""

    @classmethod
    def needs(cls, spec: object, *, base: Path) -> dict[str, type[Resource]]:
        if spec == "ruin":
            raise ConfigError("a ruin cannot be lit", fix="build a tower")
        return {} if spec == "dark" else {"lamp": Lamp}

    @classmethod
    def open(cls, spec: object, *, base: Path) -> Tower:
        return cls()


@operator(writes="lit")
def light(x: int, *, tower: Tower) -> bool:
    """Look at the tower."""
    return True


@pytest.mark.parametrize(("spec", "names"), [("high", ["tower", "lamp"]), ("dark", ["tower"])])
def test_what_a_resource_takes_of_the_flow_is_needed(spec: str, names: list[str]) -> None:
    flow = Flow(light(), inputs=INT, resources={"tower": spec})
    assert [name for _, name, _ in flow.needs] == names


def test_what_is_wrong_with_what_a_resource_takes_is_a_problem_of_the_flow() -> None:
    with pytest.raises(BuildError, match=r"resources\.tower: a ruin cannot be lit"):
        Flow(light(), inputs=INT, resources={"tower": "ruin"})
