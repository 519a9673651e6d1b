"""Spans, as the OpenTelemetry SDK's exporter in memory gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rag.errors import StepError
from rag.flow import Flow, Map, Operator, RunContext, operator
from tests.flow.bricks import expand, explode, fuse


class Search(Operator):
    """Finds something."""

    writes = "documents"
    span_kind = "RETRIEVER"

    def run(self, query: str) -> list[Document]:
        return [Document(page_content=f"about {query}", id="7", metadata={"score": 0.5})]


class Write(Operator):
    """Answers in a thread."""

    writes = "answer"
    span_kind = "LLM"

    def run(self, query: str, *, ctx: RunContext) -> str:
        ctx.spend(llm_calls=1, tokens=5)
        ctx.spend(tokens=2)
        return f"re: {query}"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Any]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("tests")
    provider.shutdown()


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_each_step_is_a_span_below_the_run(tracer: Any, exporter: InMemorySpanExporter) -> None:
    flow = Flow(Search() >> Write(), name="asked").traced(tracer)
    flow.invoke(query="locks")
    spans = named(exporter)
    whole, search, write = spans["asked"], spans["search"], spans["write"]
    assert search.parent.span_id == write.parent.span_id == whole.context.span_id
    kinds = [span.attributes["openinference.span.kind"] for span in (whole, search, write)]
    assert kinds == ["CHAIN", "RETRIEVER", "LLM"]
    assert search.attributes["input.value"] == "locks"
    assert search.attributes["retrieval.documents.0.document.content"] == "about locks"
    assert search.attributes["retrieval.documents.0.document.id"] == "7"
    assert search.attributes["retrieval.documents.0.document.score"] == 0.5
    assert write.attributes["output.value"] == "re: locks"
    assert write.attributes["llm.token_count.total"] == 7
    assert json.loads(whole.attributes["output.value"])["answer"] == "re: locks"


def test_spans_of_branches_do_not_mix(tracer: Any, exporter: InMemorySpanExporter) -> None:
    flow = Flow(expand(n=3) >> Map(over="queries", as_="query", body=Search(), join=fuse()))
    flow.traced(tracer).invoke(query="q")
    searches = [s for s in exporter.get_finished_spans() if s.name.endswith("search")]
    assert sorted(span.attributes["input.value"] for span in searches) == ["q0", "q1", "q2"]
    assert len({span.parent.span_id for span in searches}) == 1


def test_a_failure_marks_the_step_and_the_run(tracer: Any, exporter: InMemorySpanExporter) -> None:
    flow = Flow(explode(), inputs={"x": int}, name="bad").traced(tracer)
    with pytest.raises(StepError):
        flow.invoke(x=1)
    for span in exporter.get_finished_spans():
        assert not span.status.is_ok
        assert any(event.name == "exception" for event in span.events)


def test_contents_stay_out_where_they_are_to_be_hidden(
    tracer: Any, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENINFERENCE_HIDE_INPUTS", "true")
    monkeypatch.setenv("OPENINFERENCE_HIDE_OUTPUTS", "true")
    Flow(Search()).traced(tracer).invoke(query="secret")
    for span in exporter.get_finished_spans():
        assert not any("secret" in str(value) for value in span.attributes.values())


def test_calls_of_models_are_in_the_span_of_their_step(
    tracer: Any, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    @operator(writes="answer")
    async def ask(query: str, *, ctx: RunContext) -> str:
        prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": query}]
        ctx.model_called(
            model="m-7b", prompt=prompt, output="yes", prompt_tokens=5, completion_tokens=2
        )
        return "yes"

    flow = Flow(ask()).traced(tracer)
    flow.invoke(query="really?")
    said = named(exporter)["ask"].attributes
    assert said["llm.model_name"] == "m-7b"
    assert said["llm.input_messages.1.message.role"] == "user"
    assert said["llm.input_messages.1.message.content"] == "really?"
    assert said["llm.output_messages.0.message.content"] == "yes"
    counts = [said[f"llm.token_count.{kind}"] for kind in ("prompt", "completion", "total")]
    assert counts == [5, 2, 7]
    exporter.clear()
    monkeypatch.setenv("OPENINFERENCE_HIDE_INPUTS", "true")
    flow.invoke(query="really?")
    said = named(exporter)["ask"].attributes
    assert "really?" not in str(said)
    assert said["llm.output_messages.0.message.content"] == "yes"
    assert said["llm.token_count.total"] == 7


def test_an_inner_flow_that_is_traced_is_a_span_with_its_steps_below(
    tracer: Any, exporter: InMemorySpanExporter
) -> None:
    inner = Flow(Search(), name="inner", outputs=["documents"]).traced(tracer)
    Flow(inner >> Write()).invoke(query="locks")
    spans = named(exporter)
    assert set(spans) == {"inner", "inner/search"}
    assert spans["inner/search"].parent.span_id == spans["inner"].context.span_id
    assert json.loads(spans["inner"].attributes["output.value"]).keys() == {"documents"}


def test_a_flow_that_a_step_runs_is_traced_by_its_own_tracer(
    tracer: Any, exporter: InMemorySpanExporter
) -> None:
    inner = Flow(Search(), name="inner").traced(tracer)

    @operator(writes="documents")
    async def delegate(query: str, *, ctx: RunContext) -> list[Document]:
        return list((await ctx.run(inner, query=query))["documents"])

    Flow(delegate()).invoke(query="locks")
    assert {span.name.split("/")[-1] for span in exporter.get_finished_spans()} == {
        "inner", "search"
    }  # fmt: skip


def test_variants_of_a_traced_flow_are_traced(tracer: Any, exporter: InMemorySpanExporter) -> None:
    flow = Flow(Search(), name="asked").traced(tracer)
    for variant in (flow.with_resources(), flow.with_node(Write()), flow.bound(lambda flow: {})):
        exporter.clear()
        variant.invoke(query="q")
        assert "asked" in named(exporter)


def test_without_a_tracer_there_are_no_spans(exporter: InMemorySpanExporter) -> None:
    @operator(writes="answer")
    def plain(query: str) -> str:
        return query

    Flow(plain()).invoke(query="q")
    assert not exporter.get_finished_spans()
