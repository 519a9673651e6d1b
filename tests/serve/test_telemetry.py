"""Spans reach a collector that the standard variables name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rag.errors import ConfigError
from rag.serve.observe.telemetry import tracer_provider, tracing
from tests.http_server import LocalServer
from tests.serve.conftest import toy

NAMES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SERVICE_NAME",
    "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER", "OTEL_RESOURCE_ATTRIBUTES",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A collector's address, and what it has received: headers' `x-team` and the request."""
    received: list[tuple[str, Any]] = []

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["x-team"], ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = LocalServer(("127.0.0.1", 0), Receive)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "service"), [(None, "modular-rag"), ("handbook", "handbook")], ids=["default", "named"]
)
def test_a_run_and_its_steps_are_sent(
    name: str | None, service: str, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=north")
    if name:
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    with tracing() as tracer:
        toy().traced(tracer).invoke(query="Ducks")
    ((team, request),) = received
    assert team == "north"
    (found,) = request.resource_spans
    about = {one.key: one.value.string_value for one in found.resource.attributes}
    assert about["service.name"] == service
    spans = [span for scope in found.scope_spans for span in scope.spans]
    (run,) = [span for span in spans if not span.parent_span_id]
    assert run.name == "toy"
    assert {"shelf", "say", "cite"} <= {span.name for span in spans}
    assert {span.trace_id for span in spans} == {run.trace_id}


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SERVICE_NAME", "x")],
)
def test_nothing_is_sent_unless_it_is_asked_for(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "OTEL_SERVICE_NAME":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    assert tracer_provider() is None
    with tracing() as tracer:
        assert tracer is None


def test_another_protocol_is_an_error_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="'grpc'") as caught:
        tracer_provider()
    assert caught.value.where == "OTEL_EXPORTER_OTLP_PROTOCOL"
