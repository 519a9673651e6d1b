"""OpenTelemetry spans with OpenInference's attributes, one per run and one per step.

`flow.traced(tracer)` turns them on; the OpenTelemetry API is imported only then. The variables
OPENINFERENCE_HIDE_INPUTS and OPENINFERENCE_HIDE_OUTPUTS keep contents out of the spans.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rag.flow.place import Place
from rag.plain import plain

KIND, TOKENS = "openinference.span.kind", "llm.token_count.total"


class Traced(Protocol):
    """What a span says of an operator."""

    @property
    def use(self) -> str:
        """Its name in pipeline files."""

    @property
    def span_kind(self) -> str:
        """OpenInference's kind of span."""


class TracedFlow(Protocol):
    """What a span says of a flow."""

    tracer: Any
    name: str | None
    output_types: Mapping[str, Any]


class SpanOf:
    """A span, told what its step reads and writes.

    Args:
        span: OpenTelemetry's.
        kind: OpenInference's kind of span: CHAIN, RETRIEVER, RERANKER, LLM, ...
    """

    def __init__(self, span: Any, kind: str) -> None:
        self._span, self._kind = span, kind
        span.set_attribute(KIND, kind)

    def reads(self, values: Mapping[str, Any]) -> None:
        """Set the input; a reranker's documents apart."""
        self._values("input", values)
        if self._kind == "RERANKER":
            self._documents("reranker.input_documents", values)

    def wrote(self, values: Mapping[str, Any]) -> None:
        """Set the output; documents found apart."""
        self._values("output", values)
        if self._kind == "RETRIEVER":
            self._documents("retrieval.documents", values)
        elif self._kind == "RERANKER":
            self._documents("reranker.output_documents", values)

    def _values(self, side: str, values: Mapping[str, Any]) -> None:
        if _hidden(side):
            self._span.set_attribute(f"{side}.value", "__REDACTED__")
            return
        single = len(values) == 1 and isinstance(next(iter(values.values())), str)
        text = next(iter(values.values())) if single else json.dumps(plain(values))
        self._span.set_attribute(f"{side}.value", text)
        self._span.set_attribute(
            f"{side}.mime_type", "text/plain" if single else "application/json"
        )

    def _documents(self, prefix: str, values: Mapping[str, Any]) -> None:
        if _hidden("input" if "input" in prefix else "output"):
            return
        for documents in values.values():
            if not isinstance(documents, list):
                continue
            for number, document in enumerate(documents):
                if not hasattr(document, "page_content"):
                    continue
                name = f"{prefix}.{number}.document"
                self._span.set_attribute(f"{name}.content", document.page_content)
                if document.id is not None:
                    self._span.set_attribute(f"{name}.id", document.id)
                if isinstance(document.metadata.get("score"), int | float):
                    self._span.set_attribute(f"{name}.score", float(document.metadata["score"]))


@contextmanager
def step_span(tracer: Any, operator: Traced, place: Place) -> Iterator[SpanOf]:
    """The span of one occurrence of a step; an error ends it as failed."""
    with tracer.start_as_current_span(str(place.static)) as span:
        span.set_attribute("rag.operator", operator.use)
        span.set_attribute("rag.place", str(place))
        yield SpanOf(span, operator.span_kind)


async def traced_run(
    flow: TracedFlow, state: Mapping[str, Any], run: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """What a run of a flow writes; the run is a span above those of its steps."""
    with flow.tracer.start_as_current_span(flow.name or "flow") as span:
        whole = SpanOf(span, "CHAIN")
        whole.reads(state)
        wrote = await run()
        whole.wrote({name: wrote[name] for name in flow.output_types if name in wrote})
        return wrote


def trace_call(
    *,
    tokens: int,
    model: str | None = None,
    prompt: Sequence[Mapping[str, str]] = (),
    output: str = "",
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
) -> None:
    """Add a call of a language model to the step whose span is current.

    Tokens are added up over the calls of a step; prompt and output are the last call's, and left
    out where OPENINFERENCE_HIDE_INPUTS or OPENINFERENCE_HIDE_OUTPUTS says so.
    """
    from opentelemetry import trace

    span = trace.get_current_span()
    known = getattr(span, "attributes", None) or {}
    counts = {TOKENS: tokens}
    counts["llm.token_count.prompt"] = prompt_tokens
    counts["llm.token_count.completion"] = completion_tokens
    for name, count in counts.items():
        if count:
            span.set_attribute(name, int(known.get(name, 0)) + count)
    if model is None:
        return
    span.set_attribute("llm.model_name", model)
    if not _hidden("input"):
        for number, message in enumerate(prompt):
            for field, value in message.items():
                span.set_attribute(f"llm.input_messages.{number}.message.{field}", str(value))
    if not _hidden("output"):
        span.set_attribute("llm.output_messages.0.message.role", "assistant")
        span.set_attribute("llm.output_messages.0.message.content", output)


def _hidden(side: str) -> bool:
    return os.environ.get(f"OPENINFERENCE_HIDE_{side.upper()}S", "").lower() in ("1", "true")
