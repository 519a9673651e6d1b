"""Spans of requests, of the runs below them, and of ingests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from rag import Flow
from rag.operators import BM25
from rag.serve import Settings, app, single_user
from rag.serve.service import Service
from rag.testing.encoders import ScriptedEmbedder
from tests.serve.conftest import Doors, running, toy
from tests.serve.waiting import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FROM_OUTSIDE = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Any:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


@pytest.fixture
def http(tmp_path: Path, tracer: Any, client: Any) -> Iterator[Any]:
    service = Service(toy(), Settings(data=tmp_path / "data"), tracer)
    with running(app({}, identity=single_user, service=service)) as address:
        yield client(address)


def ended(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The span of a name, once it has ended."""
    until(lambda: name in [one.name for one in exporter.get_finished_spans()], 30)
    (found,) = [one for one in exporter.get_finished_spans() if one.name == name]
    return found


def below(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == parent.context.span_id


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_clients_trace_goes_on_down_to_the_steps(
    http: Any, exporter: InMemorySpanExporter, stream: bool
) -> None:
    body = {"query": "Ducks", "stream": stream}
    http.post("/ask?secret=1", json=body, headers=FROM_OUTSIDE | {"User-Agent": "me/1"}).read()
    request = ended(exporter, "POST /ask")
    run, step = ended(exporter, "toy"), ended(exporter, "say")
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    for one in (request, run, step):
        assert f"{one.context.trace_id:032x}" == TRACE
    assert below(run, request)
    assert below(step, run)
    assert request.kind == SpanKind.SERVER
    assert request.status.status_code == StatusCode.UNSET
    assert dict(request.attributes or {}).items() >= {
        "http.request.method": "POST", "http.route": "/ask", "http.response.status_code": 200,
        "url.path": "/ask", "url.scheme": "http", "server.address": "127.0.0.1",
        "server.port": http.base_url.port, "client.address": "127.0.0.1",
        "network.protocol.version": "1.1", "user_agent.original": "me/1",
    }.items()  # fmt: skip
    assert "secret" not in str(request.attributes)
    # The span of a request ends with its last byte, behind the run's.
    assert run.end_time is not None
    assert request.end_time is not None
    assert run.end_time <= request.end_time


def test_a_request_without_a_trace_begins_one(http: Any, exporter: InMemorySpanExporter) -> None:
    http.get("/pipelines", headers={"traceparent": "nonsense"})
    assert ended(exporter, "GET /pipelines").parent is None


def test_a_run_in_the_background_is_below_the_request_that_started_it(
    http: Any, exporter: InMemorySpanExporter
) -> None:
    http.post("/runs", json={"query": "Ducks"}, headers=FROM_OUTSIDE)
    assert below(ended(exporter, "toy"), ended(exporter, "POST /runs"))


def test_names_hold_routes_and_no_clients_words(http: Any, exporter: InMemorySpanExporter) -> None:
    run = "0123456789abcdef0123456789abcdef"
    assert http.get(f"/runs/{run}").status_code == 404
    assert http.get("/no/such/path").status_code == 404
    assert http.request("BREW", "/ask").status_code == 405
    assert ended(exporter, "GET /runs/{run}").status.status_code == StatusCode.UNSET
    assert ended(exporter, "GET").attributes["http.response.status_code"] == 404  # type: ignore[index]

    def brewing() -> list[ReadableSpan]:
        return [one for one in exporter.get_finished_spans() if "BREW" in str(one.attributes)]

    until(lambda: len(brewing()) == 1, 30)
    (brewed,) = brewing()
    assert brewed.name.startswith("HTTP")
    assert "BREW" not in brewed.name
    assert (brewed.attributes or {})["http.request.method"] == "_OTHER"


def test_a_failure_of_the_server_is_the_spans(
    http: Any, exporter: InMemorySpanExporter, doors: Doors
) -> None:
    assert http.post("/ask", json={"query": "crash"}).status_code == 500
    request = ended(exporter, "POST /ask")
    assert request.status.status_code == StatusCode.ERROR
    assert (request.attributes or {})["error.type"] == "500"


def test_probes_have_no_span(http: Any, exporter: InMemorySpanExporter) -> None:
    for path in ("/health", "/ready", "/metrics"):
        http.get(path)
    http.get("/identity")  # behind which the others have ended as well
    ended(exporter, "GET /identity")
    assert [one.name for one in exporter.get_finished_spans()] == ["GET /identity"]


def test_an_ingest_is_a_span_of_its_own(
    tmp_path: Path, tracer: Any, exporter: InMemorySpanExporter, client: Any
) -> None:
    resources = {"index": str(tmp_path / "index"), "embedder": ScriptedEmbedder()}
    flow = Flow(BM25(), name="p", resources=resources)
    service = Service(flow, Settings(data=tmp_path / "data"), tracer)
    with running(app({}, identity=single_user, service=service)) as address:
        files = {"files": ("a.md", b"# Swans\n\nA swan.\n")}
        (one,) = client(address).post("/documents", files=files).json()
        ingest = ended(exporter, "ingest")
    assert ingest.parent is None
    assert dict(ingest.attributes or {}) == {
        "rag.document": one["id"], "rag.pipeline": "p", "rag.bytes": 17, "rag.chunks": 1,
    }  # fmt: skip
    for name in ("inspect", "index"):
        assert below(ended(exporter, name), ingest)
