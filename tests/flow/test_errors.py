"""What goes wrong is told with its place, its cause and how to mend it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import pytest

from rag.errors import BuildError, ConfigError, InputError, StepError
from rag.flow import Flow, Loop, Map, Parallel, Retry, Route, Sequence, operator
from rag.flow.run.events import BranchFailed, NodeFailed
from tests.flow.bricks import Scale, explode, find, fuse, inc, named, nap, top, total

INT = {"x": int}

# Flows that do not fit together


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Parallel(a=inc(), join=total), ["total", "()"]),
        (lambda: inc() >> inc, ["inc", "()"]),
        (lambda: inc >> inc(), ["inc is a class", "inc()"]),
        (lambda: inc >> inc, ["inc is a class", "inc()"]),
        (lambda: (lambda x: x) >> inc(), ["a function, not a step", "@operator"]),
        (lambda: inc(fallback=inc), ["inc.fallback: inc is a class", "inc()"]),
        (lambda: find(kk=3), ["find has no field 'kk'", "did you mean 'k'"]),
        (lambda: find(retri=3), ["find has no field 'retri'", "did you mean 'retry'"]),
        (lambda: find(k="many"), ["find.k is 'many'", "valid integer"]),
        (lambda: operator(writes="x")(partial(int, "1")), ["made of partial", "in a function"]),
        (lambda: find(3), ["find takes its configuration by name", "k"]),
        (lambda: Scale(facter=3, factor="x"), ["2 problems", "'factor'", "scale"]),
        (lambda: Retry(on="ConectionError"), ["did you mean 'ConnectionError'"]),
        (lambda: Loop(body=inc(), until=lambda x: x > 3, max_turns=2), ["until", "x"]),
        (lambda: Route(by=lambda x: x, cases={"a": inc()}), ["by"]),
        (lambda: Flow(inc(), inputs=["x"]), ["inputs", "{'query': str}"]),
        (lambda: Flow(inc(), inputs=INT, budget={"secnds": 3}), ["secnds"]),
        (lambda: Flow(find(), outputs="documnts"), ["documnts", "did you mean 'documents'"]),
        (lambda: Flow(3), ["3"]),  # type: ignore[arg-type]
        (Parallel, ["branch"]),
        (
            lambda: Flow(Loop(body=inc(), until="x >", max_turns=2), inputs=INT),
            ["loop", "not an expression"],
        ),
        (lambda: Route(by="x", cases={"a": []}), ["a list is not a step", "Sequence()"]),
        (lambda: Loop(body=inc(), max_turns=0), ["max_turns"]),
        (lambda: Map(over="xs", as_="x", body=3), ["3"]),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_a_flow_is_said_clearly(
    make: Callable[[], Any], said: list[str]
) -> None:
    with pytest.raises((ConfigError, BuildError, ValueError)) as caught:
        make()
    for words in said:
        assert words in str(caught.value)


def test_idioms_that_are_right_are_taken() -> None:
    assert Flow(find(), outputs="documents").invoke(query="q").keys() == {"documents"}
    route = Route(by="x > 1", cases={True: inc(), False: Sequence()})
    assert Flow(route, inputs=INT).invoke(x=0) == {"x": 0}
    inner = Flow(inc(), inputs=INT)
    branches = Parallel(a=inner, b=inner >> inner, join=named())
    assert Flow(branches, inputs=INT).invoke(x=0)["named"] == {"a": 1, "b": 2}
    assert Flow(Loop(body=inner, max_turns=3), inputs=INT).invoke(x=0) == {"x": 3}
    assert Flow(inc() >> inner, inputs=INT, budget={"llm_calls": 1}).invoke(x=0) == {"x": 2}


def test_every_problem_of_a_flow_is_told_once() -> None:
    with pytest.raises(BuildError) as caught:
        Flow(find(inputs={"query": "qury"}) >> fuse() >> top(inputs={"documents": "docs"}))
    found = str(caught.value)
    assert "did you mean 'query'" in found
    assert "'docs'" in found
    assert len(caught.value.problems) == len(set(map(str, caught.value.problems)))


# Runs that fail


def test_an_operator_that_raises_cancelled_error_fails_as_any_other() -> None:
    @operator(writes="x")
    async def odd(x: int) -> int:
        raise asyncio.CancelledError

    branches = Parallel(a=odd(), b=inc(), join=named())
    with pytest.raises(StepError, match="CancelledError") as caught:
        Flow(branches, inputs=INT).invoke(x=0)
    assert "odd" in str(caught.value.place)
    skipping = Parallel(a=odd(), b=inc(), join=named(), on_error="skip")
    assert Flow(skipping, inputs=INT).invoke(x=0)["named"] == {"b": 1}


def test_a_map_over_what_is_no_list_names_its_place() -> None:
    mapped = Map(over="xs", as_="x", body=inc(), join=total(), on_error="skip")
    for value in (None, 3):
        with pytest.raises(StepError) as caught:
            Flow(mapped, inputs={"xs": Any}).invoke(xs=value)
        assert str(caught.value.place) == "map"


def test_a_step_error_of_an_operator_is_not_its_own_cause() -> None:
    @operator(writes="x")
    def strict(x: int) -> int:
        raise StepError("too strict", fix="be milder")

    with pytest.raises(StepError, match="too strict") as caught:
        Flow(strict(), inputs=INT).invoke(x=0)
    seen, error = [], caught.value.__cause__
    while error is not None:
        assert error is not caught.value
        assert error not in seen
        seen.append(error)
        error = error.__cause__
    assert caught.value.fix == "be milder"
    assert str(caught.value.place) == "strict"


def test_every_branch_that_failed_is_told() -> None:
    barrier = threading.Barrier(2, timeout=30)

    @operator(writes="x")
    def fail(x: int, *, why: str = "") -> int:
        barrier.wait()
        raise ValueError(why)

    branches = Parallel(a=fail(why="one"), b=fail(why="two"), join=total(), on_error="skip")
    events: list[Any] = []
    with pytest.raises(StepError):
        events.extend(Flow(branches, inputs=INT).stream(x=0))
    told = {str(e.error) for e in events if isinstance(e, NodeFailed)}
    assert told == {"one", "two"}
    assert sum(isinstance(event, BranchFailed) for event in events) in (0, 2)


def test_literal_inputs_are_checked() -> None:
    flow = Flow(inc(), inputs={"x": int, "mode": Literal["a", "b"]})
    assert flow.invoke(x=0, mode="a")["mode"] == "a"
    with pytest.raises(InputError, match="'mode'"):
        flow.invoke(x=0, mode="zzz")


def test_a_generator_is_collected_and_one_that_is_returned_is_refused() -> None:
    @operator(writes="xs")
    def several(x: int) -> Iterator[int]:
        yield x
        yield x + 1

    assert Flow(several(), inputs=INT).invoke(x=1)["xs"] == [1, 2]

    @operator(writes="xs")
    def returned(x: int) -> Iterator[int]:
        return iter([x])

    with pytest.raises((BuildError, ConfigError), match="annotated to return a generator"):
        Flow(returned(), inputs=INT)


def test_retry_takes_classes_of_errors() -> None:
    assert Retry(on=(ConnectionError, "ValueError")).on == ("ConnectionError", "ValueError")
    assert Retry(on=OSError).covers(ConnectionError())
    assert not Retry(on="ValueError").covers(OSError())
    for name in ("ConnectError", "APIConnectionError", "TimeoutException"):  # other libraries'
        assert Retry(on=name).on == (name,)


def test_an_unknown_input_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError) as caught:
        Flow(find()).invoke(qury="q")
    assert str(caught.value).endswith("fix: did you mean 'query'? the inputs are: query (str)")


# Batches


def test_the_first_failure_of_a_batch_ends_the_others() -> None:
    ended: list[int] = []

    @operator(writes="x")
    async def work(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        await asyncio.sleep(30)
        ended.append(x)
        return x

    flow = Flow(work(), inputs=INT)
    with pytest.raises(StepError, match="three"):
        flow.batch([{"x": x} for x in range(8)], concurrency=8)

    async def tasks() -> int:
        with pytest.raises(StepError):
            await flow.abatch([{"x": x} for x in range(8)], concurrency=8)
        return len(asyncio.all_tasks())

    assert asyncio.run(tasks()) == 1
    assert not ended


def test_a_batch_may_return_its_failures() -> None:
    flow = Flow(Route(by="x > 1", cases={True: explode(), False: nap(seconds=0)}), inputs=INT)
    many = [{"x": 0}, {"x": 2}, {"x": 1}]
    first, second, third = flow.batch(many, return_exceptions=True)
    assert (first, third) == ({"x": 0}, {"x": 1})
    assert isinstance(second, StepError)


def test_classes_of_operators_are_not_kept_for_ever() -> None:
    import gc
    import weakref

    def use() -> weakref.ref[type]:
        @operator(writes="x")
        def local(x: int) -> int:
            return x

        Flow(local(), inputs=INT).invoke(x=1)
        return weakref.ref(local)  # type: ignore[arg-type]

    references = [use() for _ in range(5)]
    gc.collect()
    assert sum(reference() is not None for reference in references) <= 1


def test_a_class_that_returns_too_little_is_named() -> None:
    class Short(Scale):
        """Return one value in the place of two."""

        def run(self, x: int) -> tuple[int, str]:
            return x  # type: ignore[return-value]

    with pytest.raises(StepError, match="it returned int, not a tuple of 2"):
        Flow(Short(), inputs=INT).invoke(x=1)
