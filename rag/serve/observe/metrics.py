"""Metrics for Prometheus. Labels hold no users, no documents and no paths of files."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from rag.serve.observe.exchange import METHODS, Exchange
from rag.serve.observe.kv_bytes import kv_bytes
from rag.serve.observe.processes import FOLDER, of_all_processes
from rag.serve.pipelines.pipeline import Pipelines
from rag.serve.runs.queue import RunQueue
from rag.serve.runs.table import ServedRun

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counts of one server, in a registry of its own.

    Args:
        queue: The queue of questions.
        pipelines: Have the models whose stored states are measured.
    """

    def __init__(self, queue: RunQueue, pipelines: Pipelines) -> None:
        self._pipelines = pipelines
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
        self._states_in_memory = Gauge(
            "rag_kv_cache_memory_bytes", "Stored states of chunks in memory.",
            registry=own, multiprocess_mode="livesum",
        )  # fmt: skip
        # One folder, however many processes use it.
        self._states_on_disk = Gauge(
            "rag_kv_cache_disk_bytes", "Stored states of chunks on disk.",
            registry=own, multiprocess_mode="livemostrecent",
        )  # fmt: skip
        ProcessCollector(registry=own)

    def answered(self, exchange: Exchange) -> None:
        """Count a request."""
        method = exchange.method if exchange.method in METHODS else "other"
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
        self._note_memory()

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
        self._note_memory()
        self._states_on_disk.set(kv_bytes(self._pipelines.values(), "disk"))
        folder = os.environ.get(FOLDER)
        return of_all_processes(Path(folder)) if folder else generate_latest(self.registry)

    def _note_memory(self) -> None:
        """Look up what stored states take, behind each run: other processes may be asked."""
        self._states_in_memory.set(kv_bytes(self._pipelines.values(), "memory"))
