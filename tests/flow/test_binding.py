"""Resources: several of one kind, those of inner flows, and names that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.errors import BudgetError, BuildError, ConfigError, StepError
from rag.flow import Budget, Flow, Resource, RunContext, load_flow, operator
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


def test_a_resource_that_nobody_names_is_an_error_of_the_run_and_may_be_given_later() -> None:
    flow = Flow(ask(outputs={"answer": "query"}) >> ask())
    with pytest.raises(StepError, match=r"no resource is called 'llm' \(Model\)") as caught:
        flow.invoke(query="q")
    assert "name it in the pipeline" in str(caught.value)
    assert flow.with_resources(llm="late").invoke(query="q")["answer"] == "q late late"


def test_a_path_stands_for_its_text(tmp_path: Path) -> None:
    by_path = Flow(ask(), resources={"llm": tmp_path}).invoke(query="q")
    assert by_path == Flow(ask(), resources={"llm": str(tmp_path)}).invoke(query="q")
