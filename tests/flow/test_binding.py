"""Resources: several of one kind, those of inner flows, and names that are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag import Checkpoints
from rag.errors import BudgetError, BuildError, ConfigError, RagError
from rag.flow import Budget, Flow, Guard, Parallel, Race, Resource, RunContext, load_flow, operator
from rag.flow.registry import Registry
from rag.flow.resources import Spec
from rag.flow.yaml.dump import dump

OPENED: list[Model] = []


class ModelSpec(Spec):
    """What a pipeline says of it."""

    model: str
    size: int = 1


class Model(Resource):
    """Something that answers."""

    Spec = ModelSpec
    shorthand = "model"

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, 0
        OPENED.append(self)

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Model:
        return cls(spec.model)

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        return ConfigError("there is no such model") if spec == "not there" else None

    def close(self) -> None:
        self.closed += 1


@operator(writes="answer")
def ask(query: str, *, llm: Model) -> str:
    """Tell which model it was."""
    return f"{query} {llm.name}"


@operator(writes="answer")
def compare(query: str, *, llm: Model, judge: Model) -> str:
    """Tell which models they were."""
    return f"{llm.name} {judge.name}"


@operator(writes="query")
def spend(query: str, *, ctx: RunContext) -> str:
    """Use a call."""
    ctx.spend(llm_calls=1)
    return query


REGISTRY = Registry({"ask": ask, "compare": compare, "spend": spend})
TWO = {"small": "s", "large": {"model": "l", "size": 7}}


@pytest.fixture(autouse=True)
def _nothing_open() -> None:
    OPENED.clear()


def pair() -> Flow:
    first = ask(resources={"llm": "small"}, outputs={"answer": "query"})
    return Flow(first >> ask(resources={"llm": "large"}), resources=TWO)


# Several of one kind


def test_steps_take_different_resources_of_one_kind() -> None:
    with pair() as flow:
        assert flow.invoke(query="q")["answer"] == "q s l"
        flow.invoke(query="q")
    assert [(model.name, model.closed) for model in OPENED] == [("s", 1), ("l", 1)]


def test_one_step_takes_two_of_one_kind() -> None:
    step = compare(resources={"llm": "large", "judge": "small"})
    assert Flow(step, resources=TWO).invoke(query="q")["answer"] == "l s"
    step = compare(resources={"judge": "llm"})
    assert Flow(step, resources={"llm": "one"}).invoke(query="q")["answer"] == "one one"
    assert len(OPENED) == 3


def test_pipeline_files_bind_them_too() -> None:
    text = """
    resources:
      small: s
      large: {model: l, size: 7}
    steps:
      - {use: ask, resources: {llm: small}, outputs: {answer: query}}
      - {use: ask, resources: {llm: large}}
    """
    flow = load_flow(text, registry=REGISTRY)
    assert flow.invoke(query="q")["answer"] == "q s l"
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow == pair()


def test_a_cached_result_depends_on_which_resource_a_parameter_takes() -> None:
    steps = [
        compare(cache=True, resources=binding)
        for binding in (
            {"llm": "large", "judge": "small"},
            {"llm": "small", "judge": "large"},
        )
    ]
    flow = Flow(steps[0] >> steps[1].model_copy(update={"outputs": {"answer": "b"}}), resources=TWO)
    result = flow.invoke(query="q")
    assert (result["answer"], result["b"]) == ("l s", "s l")


# Inner flows


def test_an_inner_flow_inherits_what_it_does_not_name() -> None:
    inner = Flow(compare(), resources={"judge": "inner"})
    with Flow(inner.at(), resources={"llm": "outer"}) as flow:
        assert flow.invoke(query="q")["answer"] == "outer inner"
    assert sorted((model.name, model.closed) for model in OPENED) == [("inner", 1), ("outer", 1)]


def test_what_inner_flows_opened_is_closed_by_the_outer() -> None:
    inner = Flow(ask(outputs={"answer": "query"}), resources={"llm": "inner"})
    with Flow(inner >> ask(), resources={"llm": "outer"}) as flow:
        assert flow.invoke(query="q")["answer"] == "q inner outer"
    assert [(model.name, model.closed) for model in OPENED] == [("inner", 1), ("outer", 1)]


def test_what_was_given_open_is_left_open() -> None:
    own = Model("own")
    inner = Flow(ask(outputs={"answer": "query"}), resources={"llm": own})
    with Flow(inner >> ask(), resources={"llm": own}) as flow:
        assert flow.invoke(query="q")["answer"] == "q own own"
    assert own.closed == 0


def test_variants_of_a_flow_share_what_is_open() -> None:
    flow = Flow(compare(), resources={"llm": "one", "judge": "two"})
    other = flow.with_resources(judge="three")
    assert flow.invoke(query="q")["answer"] == "one two"
    assert other.invoke(query="q")["answer"] == "one three"
    assert [model.name for model in OPENED] == ["one", "two", "three"]
    flow.close()
    flow.close()
    assert [(model.name, model.closed) for model in OPENED] == [
        ("one", 0), ("two", 1), ("three", 0)
    ]  # fmt: skip
    other.close()
    assert [model.closed for model in OPENED] == [1, 1, 1]
    with other:
        assert other.invoke(query="q")["answer"] == "one three"
    assert [model.closed for model in OPENED] == [1] * 5


def test_other_resources_are_checked_and_reach_steps_that_can_do_without() -> None:
    @operator(writes="answer")
    def maybe(query: str, *, llm: Model | None = None) -> str:
        return "nobody" if llm is None else llm.name

    flow = Flow(maybe())
    assert flow.invoke(query="q")["answer"] == "nobody"
    assert flow.with_resources(llm="there").invoke(query="q")["answer"] == "there"
    with pytest.raises(BuildError, match="no step uses the resource 'lml'"):
        flow.with_resources(lml="there")


def test_budgets_of_inner_flows_hold() -> None:
    inner = Flow(spend() >> spend(), budget=Budget(llm_calls=1))
    with pytest.raises(BudgetError, match="the budget is 1"):
        Flow(inner.at()).invoke(query="q")
    fits = Flow(spend(), budget=Budget(llm_calls=1))
    assert Flow(fits >> fits).invoke(query="q") == {"query": "q"}
    with pytest.raises(BudgetError, match="2 llm_calls were used, the budget is 1"):
        Flow(fits >> fits, budget=Budget(llm_calls=1)).invoke(query="q")


# What is wrong


@pytest.mark.parametrize(
    ("resources", "what"),
    [
        ({"lml": "s"}, "'lml'"),
        ({"llm": {"modle": "s"}}, "has no field 'modle'"),
        ({"llm": {}}, "needs the field 'model'"),
        ({"llm": {"model": "s", "size": "many"}}, "size is 'many'"),
        ({"llm": 3}, "describes no Model"),
    ],
)
def test_a_resource_that_is_wrong_is_said_when_the_flow_is_built(
    resources: dict[str, Any], what: str
) -> None:
    with pytest.raises((BuildError, ConfigError)) as caught:
        Flow(ask(), resources=resources)
    assert what in str(caught.value)
    assert "fix: " in str(caught.value)
    assert not OPENED


def test_a_misspelt_name_or_parameter_suggests_the_right_one() -> None:
    with pytest.raises(BuildError, match="did you mean 'llm'"):
        Flow(ask(), resources={"lllm": "s"})
    with pytest.raises(BuildError, match="did you mean 'small'"):
        Flow(ask(resources={"llm": "smal"}), resources=TWO)
    with pytest.raises(BuildError, match="takes no resource 'lm'"):
        Flow(ask(resources={"lm": "small"}), resources={"llm": "s", "small": "s"})
    with pytest.raises(BuildError, match="it is a resource: write resources"):
        Flow(ask(inputs={"llm": "small"}), resources={"llm": "s"})


def test_all_that_is_missing_is_known_before_anything_runs(tmp_path: Path) -> None:
    ran = []

    @operator(writes="query", light=True)
    def first(query: str) -> str:
        ran.append(query)
        return query

    asks = ask(outputs={"answer": "query"}) >> ask(resources={"llm": "away"})
    inner = Flow(ask(resources={"llm": "lost"}), resources={"lost": "not there"})
    flow = Flow(first() >> asks >> inner, resources={"away": "not there"})
    calls: list[Callable[[], object]] = [
        lambda: flow.invoke(query="q"),
        lambda: flow.run(query="q"),
        lambda: next(iter(flow.stream(query="q"))),
        lambda: asyncio.run(flow.ainvoke(query="q")),
        lambda: flow.batch([{"query": "q"}]),
        lambda: Checkpoints(tmp_path / "runs").start(flow, query="q"),
    ]
    for call in calls:
        with pytest.raises(BuildError) as caught:
            call()
        assert list(map(str, caught.value.problems)) == list(map(str, flow.absent()))
        assert [problem.where for problem in caught.value.problems] == [
            "resources.llm",
            "resources.away",
            "resources.lost",
        ]
    assert ran == []
    assert "no resource is called 'llm' (Model), which ask takes" in str(caught.value)
    named = flow.with_resources(llm="late")
    with pytest.raises(BuildError):
        named.invoke(query="q")
    there = named.with_resources(away="late").bound(
        lambda one: {"lost": "x"} if one is inner else {}
    )
    assert there.invoke(query="q")["answer"] == "q late x"
    assert flow.absent()


def test_a_single_one_that_is_missing_is_the_error_itself() -> None:
    with pytest.raises(ConfigError, match=r"no resource is called 'llm' \(Model\)") as caught:
        Flow(ask()).invoke(query="q")
    assert "name it in the pipeline" in str(caught.value)
    assert Flow(ask()).with_resources(llm="late").invoke(query="q")["answer"] == "q late"


def test_what_a_step_can_do_without_need_not_be_there() -> None:
    @operator(writes="answer")
    def instead(query: str) -> str:
        return "sorry"

    plain = instead()
    for node in (
        ask(fallback=plain),
        Guard(ask(), fallback=plain),
        Race(a=ask(), b=plain),
        Parallel(a=ask(outputs={"answer": "other"}), b=plain, on_error="skip"),
    ):
        flow = Flow(node, outputs=["answer"])
        assert flow.invoke(query="q") == {"answer": "sorry"}
        assert len(flow.absent()) == 1
    with pytest.raises(ConfigError, match=r"which ask/\.fallback/ask takes"):
        Flow(ask(fallback=ask(), resources={"llm": "there"}), resources={"there": "x"}).invoke(
            query="q"
        )


def test_a_path_stands_for_its_text(tmp_path: Path) -> None:
    by_path = Flow(ask(), resources={"llm": tmp_path}).invoke(query="q")
    assert by_path == Flow(ask(), resources={"llm": str(tmp_path)}).invoke(query="q")
