"""Results of steps that are taken from earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.flow import Flow, Resource, load_flow, operator
from rag.flow.memory.step_cache import StepCache
from rag.flow.registry import Registry
from rag.flow.run.events import NodeStarted, Reused

CALLS: list[str] = []


class Store(Resource):
    """Something that changes."""

    def __init__(self) -> None:
        self.commits = 0

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Store:
        return cls()

    def version(self) -> str:
        return str(self.commits)


@operator(writes="documents")
def look(query: str, *, store: Store, k: int = 1) -> list[Document]:
    """Find, and note that it did."""
    CALLS.append(query)
    return [Document(page_content=f"{query} {number}", metadata={"k": k}) for number in range(k)]


@operator(writes="answer")
def shout(query: str) -> str:
    """Say loudly, and note that it did."""
    CALLS.append(query)
    return query.upper()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def test_equal_inputs_are_computed_once() -> None:
    flow = Flow(shout(cache=True))
    assert flow.invoke(query="a") == flow.invoke(query="a") == {"query": "a", "answer": "A"}
    assert flow.invoke(query="b")["answer"] == "B"
    assert CALLS == ["a", "b"]


def test_a_reused_result_is_told_and_nothing_starts() -> None:
    flow = Flow(shout(cache=True))
    flow.invoke(query="a")
    events = list(flow.stream(query="a"))
    (reused,) = [event for event in events if isinstance(event, Reused)]
    assert (reused.node, reused.writes, reused.source) == ("shout", {"answer": "A"}, "cache")
    assert not any(isinstance(event, NodeStarted) for event in events)


def test_without_asking_nothing_is_cached() -> None:
    flow = Flow(shout())
    flow.invoke(query="a")
    flow.invoke(query="a")
    assert CALLS == ["a", "a"]


def test_another_configuration_or_state_of_a_resource_is_another_result() -> None:
    store = Store()
    flows = [Flow(look(k=k, cache=True), resources={"store": store}) for k in (1, 2)]
    cache = StepCache()
    flows = [flow.with_resources(step_cache=cache) for flow in flows]
    assert [len(flow.invoke(query="a")["documents"]) for flow in flows * 2] == [1, 2, 1, 2]
    assert len(CALLS) == 2
    store.commits += 1
    flows[0].invoke(query="a")
    assert len(CALLS) == 3


def test_what_comes_out_is_a_copy() -> None:
    flow = Flow(look(cache=True), resources={"store": Store()})
    flow.invoke(query="a")["documents"][0].metadata["k"] = "changed"
    assert flow.invoke(query="a")["documents"][0].metadata["k"] == 1


def test_a_result_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, now = Flow(shout(cache={"ttl": 60})), [1000.0]
    monkeypatch.setattr("rag.flow.memory.step_cache.time.time", lambda: now[0])
    flow.invoke(query="a")
    now[0] += 59
    flow.invoke(query="a")
    assert CALLS == ["a"]
    now[0] += 2
    flow.invoke(query="a")
    assert CALLS == ["a", "a"]


def test_the_least_recently_used_goes_when_the_bytes_are_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(1, 100))
    monkeypatch.setattr("rag.flow.memory.step_cache.time.time", lambda: float(next(clock)))
    flow = Flow(shout(cache=True), resources={"step_cache": {"max_bytes": 2500}})
    for letter in ("a", "b", "a", "c", "a", "b"):
        flow.invoke(query=letter * 1000)
    assert [call[0] for call in CALLS] == ["a", "b", "c", "b"]
    flow.invoke(query="x" * 5000)
    flow.invoke(query="x" * 5000)
    assert [call[0] for call in CALLS[-2:]] == ["x", "x"]


def test_a_file_keeps_results_for_other_processes(tmp_path: Path) -> None:
    for _ in range(2):
        resources = {"step_cache": {"path": str(tmp_path / "cache" / "steps.sqlite")}}
        with Flow(shout(cache=True), resources=resources) as flow:
            assert flow.invoke(query="a")["answer"] == "A"
    assert CALLS == ["a"]


def test_pipeline_files_say_it_too() -> None:
    registry = Registry({"shout": shout})
    flow = load_flow("steps:\n  - {use: shout, cache: {ttl: 5}}\n", registry=registry)
    assert flow == Flow(shout(cache={"ttl": 5}))
    flow = load_flow("steps:\n  - {use: shout, cache: true}\n", registry=registry)
    assert flow == Flow(shout(cache=True))
    assert load_flow("steps:\n  - {use: shout, cache: false}\n", registry=registry) == Flow(shout())


def test_a_wrong_specification_is_said() -> None:
    with pytest.raises(ConfigError, match="has no field 'bytes'"):
        StepCache.load({"bytes": 3}, base=Path())
