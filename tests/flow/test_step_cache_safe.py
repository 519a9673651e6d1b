"""A step cache gives no wrong result, and never fails a run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from rag.errors import BuildError
from rag.flow import Flow, Parallel, RunContext, operator
from rag.flow.langchain import as_step
from rag.flow.memory.step_cache import StepCache
from rag.flow.policies import Cache
from rag.flow.run.events import Reused, Token, Warned
from tests.flow.bricks import named

INT = {"x": int}


def adder(by: int) -> Any:
    """Operators of one name whose functions differ by what they close over."""

    @operator(writes="x")
    def add(x: int) -> int:
        return x + by

    return add


def test_closures_of_one_name_are_told_apart() -> None:
    branches = Parallel(a=adder(1)(cache=True), b=adder(100)(cache=True), join=named())
    flow = Flow(branches, inputs=INT)
    for _ in range(2):
        assert flow.invoke(x=1)["named"] == {"a": 2, "b": 101}


def written(body: str) -> Any:
    """An operator as if its source said `body`."""
    space: dict[str, Any] = {"operator": operator}
    exec(f"def say(query: str) -> str:\n    return {body}\n", space)  # noqa: S102
    return operator(writes="answer")(space["say"])


def test_an_edited_function_is_another_one(tmp_path: Path) -> None:
    def ask(body: str) -> tuple[str, bool]:
        with Flow(written(body)(cache=True), resources={"step_cache": str(tmp_path / "c")}) as flow:
            events = list(flow.stream(query="q"))
        reused = any(isinstance(event, Reused) for event in events)
        return events[-1].result["answer"], reused

    assert ask("'v1 ' + query") == ("v1 q", False)
    assert ask("'v2 ' + query") == ("v2 q", False)
    assert ask("query + ' v2'") == ("q v2", False)
    assert ask("'v1 ' + query") == ("v1 q", True)


def test_runnables_that_cannot_be_told_apart_are_not_cached() -> None:
    made = as_step(RunnableLambda(str.upper), reads="query", writes="answer", gives=str)
    with pytest.raises(BuildError, match="cannot be cached"):
        Flow(made.model_copy(update={"cache": Cache()}))


def test_a_version_makes_what_was_cached_not_count() -> None:
    cache, seen = StepCache(), []
    for version in ("1", "2", "1"):
        flow = Flow(adder(1)(cache={"version": version}), inputs=INT)
        events = list(flow.with_resources(step_cache=cache).stream(x=1))
        seen.append(any(isinstance(event, Reused) for event in events))
    assert seen == [False, False, True]


def test_other_names_of_channels_share_a_result() -> None:
    CALLED.clear()
    again = counted(cache=True, inputs={"x": "z"}, outputs={"y": "other"})
    flow = Flow(counted(cache=True) >> again, inputs={"x": int, "z": int})
    for _ in range(2):
        assert flow.invoke(x=1, z=1) == {"x": 1, "z": 1, "y": 10, "other": 10}
    assert len(CALLED) == 1


CALLED: list[int] = []


@operator(writes="y")
def counted(x: int) -> int:
    """Note the call."""
    CALLED.append(x)
    return x * 10


def test_equal_runs_at_once_compute_once() -> None:
    CALLED.clear()

    @operator(writes="y")
    async def slow(x: int) -> int:
        CALLED.append(x)
        await asyncio.sleep(0.05)
        return x * 10

    async def many() -> list[dict[str, Any]]:
        flow = Flow(slow(cache=True), inputs=INT)
        return await asyncio.gather(*(flow.ainvoke(x=7) for _ in range(200)))

    assert asyncio.run(many()) == [{"x": 7, "y": 70}] * 200
    assert CALLED == [7]


def test_of_equal_runs_that_fail_each_tries_for_itself() -> None:
    CALLED.clear()

    @operator(writes="y")
    async def first_fails(x: int) -> int:
        CALLED.append(x)
        failing = len(CALLED) == 1
        await asyncio.sleep(0.01)
        if failing:
            raise OSError("away")
        return x

    async def many() -> list[Any]:
        flow = Flow(first_fails(cache=True), inputs=INT)
        runs = (flow.ainvoke(x=7) for _ in range(5))
        return await asyncio.gather(*runs, return_exceptions=True)

    results = asyncio.run(many())
    assert sum(isinstance(result, Exception) for result in results) == 1
    assert results.count({"x": 7, "y": 7}) == 4


def test_equal_runs_at_once_get_copies() -> None:
    @operator(writes="documents")
    async def find(query: str) -> list[Document]:
        await asyncio.sleep(0.01)
        return [Document(page_content=query)]

    async def two() -> list[dict[str, Any]]:
        flow = Flow(find(cache=True))
        return await asyncio.gather(flow.ainvoke(query="q"), flow.ainvoke(query="q"))

    one, other = asyncio.run(two())
    one["documents"][0].metadata["seen"] = True
    assert other["documents"][0].metadata == {}


def test_tokens_are_replayed_in_order_and_at_their_place() -> None:
    @operator(writes="answer")
    async def speak(query: str, *, ctx: RunContext) -> str:
        for letter in query:
            ctx.token(letter)
        return query

    flow = Flow(speak(cache=True) >> adder(1)(name="after"), inputs={"query": str, "x": int})
    told = []
    for _ in range(2):
        events = list(flow.stream(query="abc", x=1))
        told.append([(str(e.place), e.text) for e in events if isinstance(e, Token)])
    assert told == [[("speak", "a"), ("speak", "b"), ("speak", "c")]] * 2
    assert any(isinstance(event, Reused) for event in events)


def test_a_result_depends_on_what_the_fallback_reads() -> None:
    @operator(writes="y")
    def fails(x: int) -> int:
        raise OSError("away")

    instead = counted(inputs={"x": "z"})
    flow = Flow(fails(cache=True, fallback=instead), inputs={"x": int, "z": int})
    assert [flow.invoke(x=1, z=z)["y"] for z in (1, 2)] == [10, 20]


# A cache never fails a run


class Opaque:
    """Nothing that could be written down."""


@operator(writes="thing")
def make(x: int) -> Opaque:
    """Make it."""
    return Opaque()


def warned(flow: Flow, **inputs: Any) -> tuple[dict[str, Any], list[str]]:
    events = list(flow.stream(**inputs))
    return events[-1].result, [event.message for event in events if isinstance(event, Warned)]


def test_a_value_that_cannot_be_written_down_is_a_warning() -> None:
    result, warnings = warned(Flow(make(cache=True), inputs=INT), x=1)
    assert isinstance(result["thing"], Opaque)
    assert len(warnings) == 1
    assert "not cached" in warnings[0]


def test_an_input_that_has_no_digest_is_a_warning() -> None:
    @operator(writes="x")
    def size(thing: Opaque) -> int:
        return 1

    result, warnings = warned(Flow(make() >> size(cache=True), inputs=INT), x=0)
    assert result["x"] == 1
    assert "not cached" in warnings[0]


def failing(real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`real`, which fails once before it returns."""
    left = [error]

    def call(*args: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args)

    return call


def test_an_error_while_writing_is_a_warning_and_the_next_write_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = StepCache()
    full = sqlite3.OperationalError("database or disk is full")
    monkeypatch.setattr(cache, "_evict", failing(cache._evict, full))
    flow = Flow(counted(cache=True), inputs=INT, resources={"step_cache": cache})
    assert warned(flow, x=1) == (
        {"x": 1, "y": 10},
        ["the result is not cached: database or disk is full"],
    )
    CALLED.clear()
    for _ in range(2):
        assert warned(flow, x=1) == ({"x": 1, "y": 10}, [])
    assert CALLED == [1]


def test_a_file_that_another_process_holds_fails_no_run(tmp_path: Path) -> None:
    path = tmp_path / "steps.sqlite"
    flow = Flow(counted(cache=True), inputs=INT, resources={"step_cache": str(path)})
    CALLED.clear()
    flow.invoke(x=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert flow.invoke(x=1) == {"x": 1, "y": 10}  # a hit
        assert CALLED == [1]
        result, (warning,) = warned(flow, x=2)  # a miss
        assert result == {"x": 2, "y": 20}
        assert "locked" in warning
        other.execute("ROLLBACK")
    flow.invoke(x=2)
    flow.invoke(x=2)
    assert CALLED == [1, 2, 2]
    flow.close()


def test_a_wait_for_the_file_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "steps.sqlite"
    flow = Flow(counted(cache=True), inputs=INT, resources={"step_cache": str(path)})
    flow.invoke(x=1)

    async def run(other: sqlite3.Connection) -> dict[str, Any]:
        running = asyncio.ensure_future(flow.ainvoke(x=5))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not running.done()
        other.execute("ROLLBACK")
        return await running

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert asyncio.run(run(other)) == {"x": 5, "y": 50}
    flow.close()
