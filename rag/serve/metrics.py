"""Metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rag.serve.queue import RunQueue
from rag.serve.run_table import ServedRun

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, queue: RunQueue) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "rag_requests_total", "Requests answered.", ("path", "method", "status"), registry=own
        )
        self.runs = Counter(
            "rag_runs_total", "Runs that ended.", ("pipeline", "status"), registry=own
        )
        self.seconds = Histogram(
            "rag_run_seconds", "From the question's arrival to its end.", ("pipeline",),
            buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self.first_token = Histogram(
            "rag_first_token_seconds", "From a run's start to the answer's first token.",
            ("pipeline",), buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self.waited = Histogram(
            "rag_queue_seconds", "Time in the queue.", buckets=_BUCKETS, registry=own
        )
        self.steps = Histogram(
            "rag_step_seconds", "One step of a run.", ("pipeline", "node"),
            buckets=_BUCKETS, registry=own,
        )  # fmt: skip
        self.tokens = Counter(
            "rag_tokens_total", "Tokens read and written by models.", ("pipeline",), registry=own
        )
        self.reuse = Counter(
            "rag_context_tokens_total", "Tokens of contexts, reused or computed.", ("origin",),
            registry=own,
        )  # fmt: skip
        self.uploads = Counter(
            "rag_documents_total", "Uploaded documents.", ("status",), registry=own
        )
        running = Gauge("rag_running", "Runs that go on.", registry=own)
        running.set_function(lambda: queue.running)
        waiting = Gauge("rag_waiting", "Runs that wait for a turn.", registry=own)
        waiting.set_function(lambda: queue.waiting)

    def ended(self, run: ServedRun) -> None:
        """Count a run."""
        name = run.pipeline
        self.runs.labels(name, run.status).inc()
        self.seconds.labels(name).observe(run.seconds or 0.0)
        if run.first_token is not None:
            self.first_token.labels(name).observe(run.first_token)
        for step in run.steps:
            self.steps.labels(name, step.node).observe(step.seconds)
        self.tokens.labels(name).inc(run.tokens)
        if run.reuse:
            reused = run.reuse.get("reused", 0)
            total = sum(chunk["tokens"] for chunk in run.reuse.get("chunks", []))
            self.reuse.labels("reused").inc(reused)
            self.reuse.labels("computed").inc(max(total - reused, 0))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
