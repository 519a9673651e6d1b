"""Spans of requests: a trace that the client began is continued, and a run's spans are below.

OpenTelemetry's own instrumentation of ASGI is not used: it makes a span of each message of a
stream, and names attributes as its conventions had them before they were stable, unless told
otherwise. What is here are the stable ones (https://opentelemetry.io/docs/specs/semconv/http/).
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.serve.observe.exchange import METHODS, PROBES

OTHER = "_OTHER"
"""What the conventions call a method that they do not know."""


class RequestSpans:
    """The application, each of whose requests is a span, from its arrival to the last byte.

    Which trace it continues, headers say that the propagators of OTEL_PROPAGATORS read: W3C's
    `traceparent`, unless that is set. Probes and metrics have no span.

    Args:
        app: The application.
        tracer: OpenTelemetry's.
    """

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"].endswith(tuple(PROBES)):
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        request = Request(scope)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        name = "HTTP" if method == OTHER else method
        with self._tracer.start_as_current_span(
            name,
            context=extract(request.headers),
            kind=SpanKind.SERVER,
            attributes=_attributes(request, method),
        ) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_attribute("error.type", str(status))
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, noting)
            finally:
                route = getattr(scope.get("route"), "path_format", None)
                if route is not None:  # known as soon as it has been found
                    span.set_attribute("http.route", route)
                    span.update_name(f"{name} {route}")


def _attributes(request: Request, method: str) -> dict[str, Any]:
    url, client = request.url, request.client
    found = {
        "http.request.method": method,
        "http.request.method_original": request.method if method == OTHER else None,
        "url.scheme": url.scheme,
        "url.path": url.path,
        "server.address": url.hostname,
        "server.port": url.port,
        "client.address": client.host if client else None,
        "network.protocol.version": request.scope.get("http_version"),
        "user_agent.original": request.headers.get("user-agent"),
    }
    return {name: value for name, value in found.items() if value is not None}
