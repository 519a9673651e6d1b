"""OpenTelemetry by its standard variables: where spans of requests, runs and ingests go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rag.errors import ConfigError
from rag.extras import require

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP = "http/protobuf"


def tracer_provider() -> Any:
    """OpenTelemetry's provider of tracers, which exports by OTLP; None where no variable asks.

    Where to, with which headers, how often, which share of runs, and under which name the service
    is known, the SDK reads of `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER`,
    `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`. `OTEL_SDK_DISABLED=true` and
    `OTEL_TRACES_EXPORTER=none` turn it off. The provider has to be shut down.

    Raises:
        ConfigError: The SDK is not installed, or the variables ask for another protocol.
    """
    where = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if where is None or disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    protocol = next((name for name in PROTOCOLS if os.environ.get(name)), None)
    if protocol is not None and os.environ[protocol] != HTTP:
        raise ConfigError(
            f"traces cannot be sent as {os.environ[protocol]!r}", where=protocol,
            fix=f"set it to {HTTP}, and the endpoint to the collector's port for that (4318)",
        )  # fmt: skip
    sdk = require("opentelemetry.sdk.trace", "trace", where=where)
    export = require("opentelemetry.sdk.trace.export", "trace", where=where)
    otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "trace", where=where)
    resources = require("opentelemetry.sdk.resources", "trace", where=where)
    # What a resource is made with would count before the variables.
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = resources.Resource.create({} if named else {"service.name": "modular-rag"})
    provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    return provider


@contextmanager
def tracing() -> Iterator[Any]:
    """Gives OpenTelemetry's tracer, None where no variable asks; what is left is sent at the end.

    Raises:
        ConfigError: As `tracer_provider`.
    """
    provider = tracer_provider()
    if provider is None:
        yield None
        return
    try:
        yield provider.get_tracer("rag.serve")
    finally:
        provider.shutdown()


@contextmanager
def span(tracer: Any, name: str, **attributes: str | int) -> Iterator[dict[str, Any]]:
    """A piece of work as a span, which fails with it. Nothing, where there is no tracer.

    Args:
        tracer: OpenTelemetry's, or None.
        name: The span's.
        attributes: What is known at its start, by names without the prefix `rag.`.

    Yields:
        What is put into it becomes attributes too.
    """
    found: dict[str, Any] = {}
    if tracer is None:
        yield found
        return
    with tracer.start_as_current_span(name) as made:
        try:
            yield found
        finally:
            for key, value in (attributes | found).items():
                made.set_attribute(f"rag.{key}", value)
