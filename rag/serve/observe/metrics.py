"""Metrics for Prometheus. Labels hold no users, no documents and no paths of files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from rag.serve.observe.exchange import Exchange
from rag.serve.runs.queue import RunQueue
from rag.serve.runs.table import ServedRun

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, queue: RunQueue) -> None:
        self.registry = own = CollectorRegistry()
        self._requests = Counter(
            "rag_http_requests_total", "Requests answered.", ("route", "method", "status"),
            registry=own,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "rag_http_request_seconds", "From a request to the last byte of its answer.",
            ("route", "method"), buckets=_BUCKETS, registry=own,
        )  # fmt: skip
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
        self.model_calls = Counter(
            "rag_model_calls_total", "Calls of language models.", ("pipeline",), registry=own
        )
        self.prompt_tokens = Counter(
            "rag_prompt_tokens_total", "Tokens that models read.", ("pipeline",), registry=own
        )
        self.completion_tokens = Counter(
            "rag_completion_tokens_total", "Tokens that models wrote.", ("pipeline",), registry=own
        )
        self.reuse = Counter(
            "rag_context_tokens_total", "Tokens of contexts, reused or computed.", ("origin",),
            registry=own,
        )  # fmt: skip
        self.uploads = Counter(
            "rag_uploads_total", "Uploads that were ingested, or failed.", ("status",), registry=own
        )
        self.ingest_seconds = Histogram(
            "rag_ingest_seconds", "The ingest of one upload.", buckets=_BUCKETS, registry=own
        )
        self.ingested_bytes = Counter(
            "rag_ingested_bytes_total", "Bytes of uploads that were ingested.", registry=own
        )
        self.ingested_chunks = Counter(
            "rag_ingested_chunks_total", "Chunks that uploads came to.", registry=own
        )
        running = Gauge(
            "rag_runs_running", "Runs that go on.", registry=own, multiprocess_mode="livesum"
        )
        waiting = Gauge(
            "rag_runs_waiting",
            "Runs that wait for a turn.",
            registry=own,
            multiprocess_mode="livesum",
        )  # fmt: skip

        def counted(runs: int, others: int) -> None:
            running.set(runs)
            waiting.set(others)

        queue.watch(counted)
        ProcessCollector(registry=own)

    def watch(
        self, name: str, about: str, label: str, values: Callable[[], Mapping[str, float]]
    ) -> None:
        """Report what is looked up whenever the metrics are read.

        Args:
            name: The metric's, with its unit.
            about: What it is.
            label: What its values are told apart by.
            values: From a value of the label to the number.
        """
        self.registry.register(_Watched(name, about, label, values))

    def answered(self, exchange: Exchange) -> None:
        """Count a request."""
        method = exchange.method if exchange.method in _METHODS else "other"
        self._requests.labels(exchange.route, method, exchange.status).inc()
        self._request_seconds.labels(exchange.route, method).observe(exchange.seconds)

    def ended(self, run: ServedRun) -> None:
        """Count a run."""
        name = run.pipeline
        self.runs.labels(name, run.status).inc()
        self.seconds.labels(name).observe(run.seconds or 0.0)
        if run.first_token is not None:
            self.first_token.labels(name).observe(run.first_token)
        for step in run.steps:
            self.steps.labels(name, step.node).observe(step.seconds)
        self.model_calls.labels(name).inc(run.llm_calls)
        self.completion_tokens.labels(name).inc(run.completion_tokens)
        self.prompt_tokens.labels(name).inc(run.tokens - run.completion_tokens)
        if run.reuse:
            reused = run.reuse.get("reused", 0)
            total = sum(chunk["tokens"] for chunk in run.reuse.get("chunks", []))
            self.reuse.labels("reused").inc(reused)
            self.reuse.labels("computed").inc(max(total - reused, 0))

    def settled(self, status: str, size: int, chunks: int, seconds: float) -> None:
        """Count an upload.

        Args:
            status: `ready` or `failed`.
            size: Its bytes.
            chunks: Of it in the index.
            seconds: That its ingest took.
        """
        self.uploads.labels(status).inc()
        self.ingest_seconds.observe(seconds)
        if status == "ready":
            self.ingested_bytes.inc(size)
            self.ingested_chunks.inc(chunks)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format.

        Where the environment names a folder for the metrics of several processes
        (PROMETHEUS_MULTIPROC_DIR), of all of these together.
        """
        folder = os.environ.get(FOLDER)
        return of_all_processes(Path(folder)) if folder else generate_latest(self.registry)


def of_all_processes(folder: Path) -> bytes:
    """The metrics that processes have left in a folder; what runs in dead ones is not counted."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Watched(Collector):
    """A gauge whose values are looked up when they are read."""

    def __init__(
        self, name: str, about: str, label: str, values: Callable[[], Mapping[str, float]]
    ) -> None:
        self._name, self._about, self._label, self._values = name, about, label, values

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(self._name, self._about, labels=(self._label,))]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        made = GaugeMetricFamily(self._name, self._about, labels=(self._label,))
        for value, number in self._values().items():
            made.add_metric((value,), number)
        return [made]
