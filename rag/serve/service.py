"""A server's parts, put together: started once, stopped in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from rag.flow import Flow
from rag.index.store import Address
from rag.serve.answering.answering import Answering
from rag.serve.answering.background import BackgroundRuns
from rag.serve.answering.suggestions import Suggestions
from rag.serve.conversations.conversations import CONVERSATIONS_SCHEMA, Conversations
from rag.serve.conversations.feedback import FEEDBACK_SCHEMA, FeedbackStore
from rag.serve.conversations.responses import RESPONSES_SCHEMA, Responses
from rag.serve.documents.collections import Collections
from rag.serve.documents.content import Documents
from rag.serve.documents.links import Links
from rag.serve.errors import Problem, problem_of
from rag.serve.identity.identity import single_user
from rag.serve.identity.limits import UserLimits
from rag.serve.observe.exchange import Exchange
from rag.serve.observe.metrics import Metrics
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipelines
from rag.serve.retention import RETENTION_SCHEMA, Days, Retention
from rag.serve.runs.follow import Follow
from rag.serve.runs.queue import RunQueue
from rag.serve.runs.runs import Runs
from rag.serve.runs.table import RUNS_SCHEMA
from rag.serve.runs.watch import RunWatch
from rag.serve.settings.settings import Settings
from rag.serve.state.server_state import ServerState
from rag.serve.stop_signals import on_stop_signal
from rag.serve.uploads.inspection import Limits
from rag.serve.uploads.queue import UploadQueue
from rag.serve.uploads.uploads import UPLOADS_SCHEMA, Uploads
from rag.serve.uploads.worker import UploadWorker

log = logging.getLogger("rag.serve")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries to open pipelines that cannot be opened."""


class Service:
    """The parts of a server. Each gets from here what it needs; none of them knows the service.

    Args:
        flows: The flows, or the one.
        settings: The server's limits.
        tracer: OpenTelemetry's: requests of `app`, runs, their steps and ingests become its spans.

    Raises:
        ConfigError: A flow cannot be served.
    """

    def __init__(
        self, flows: Flow | Mapping[str, Flow], settings: Settings, tracer: Any = None
    ) -> None:
        self.settings, self.tracer = settings, tracer
        self.pipelines = Pipelines(flows, tracer)
        self.queue = RunQueue(
            settings.concurrency, settings.queue, settings.queue_per_user, settings.queue_timeout
        )
        self.metrics = Metrics(self.queue, self.pipelines)
        self.flows = Flows(self.pipelines, settings.data, settings.open_flows)
        self.limits = UserLimits(
            settings.redis, settings.requests_per_minute, settings.tokens_per_day
        )
        self.state = ServerState(
            settings.state or settings.data / "serve.sqlite",
            CONVERSATIONS_SCHEMA,
            RUNS_SCHEMA,
            FEEDBACK_SCHEMA,
            RESPONSES_SCHEMA,
            UPLOADS_SCHEMA,
            RETENTION_SCHEMA,
        )
        self.runs = Runs(self.state, settings.max_runs, settings.max_events, settings.lease)
        self.conversations = Conversations(self.state)
        self.responses = Responses(self.state)
        self.feedback = FeedbackStore(self.state)
        self.answering = Answering(
            queue=self.queue,
            flows=self.flows,
            runs=self.runs,
            metrics=self.metrics,
            limits=self.limits,
            run_timeout=settings.run_timeout,
            trace=settings.trace,
            audit_questions=settings.audit_questions,
        )
        self.background = BackgroundRuns(self.answering, self.runs)
        self.follow = Follow(self.state, self.runs, lambda: self.queue.draining)
        self.run_watch = RunWatch(
            self.state, self.runs, self.answering.cancel, settings.keep_events
        )
        self.suggestions = Suggestions(
            self.queue, self.flows, self.limits, settings.suggestions, settings.run_timeout
        )
        self.collections = Collections(self.pipelines, self.flows)
        self.upload_queue = UploadQueue(self.state, settings.upload_lease)
        self.uploads = Uploads(
            self.state,
            settings.data,
            address=self._address,
            max_bytes=settings.max_upload,
            max_documents=settings.max_documents,
            max_user_bytes=settings.max_user_bytes,
            kept=self.upload_queue.filled.set,
        )
        self.documents = Documents(self.pipelines, self.flows, self.uploads)
        self.links = Links(self.flows.secret, settings.link_seconds)
        self.upload_worker = UploadWorker(
            self.upload_queue,
            self.pipelines,
            self.flows,
            Limits(
                pages=settings.max_pages,
                text=settings.max_text,
                memory=settings.inspect_memory,
                seconds=settings.inspect_timeout,
            ),
            settled=self.metrics.settled,
            tracer=tracer,
        )
        days = Days(
            settings.keep_conversations_days, settings.keep_runs_days, settings.keep_uploads_days
        )
        self.retention = Retention(self.state, days, self.upload_worker.delete)
        self._unready = Problem(503, "starting", "the models are being loaded")
        self.on_stop: list[Callable[[], Awaitable[None]]] = []
        """What else ends with the service."""
        self._started: asyncio.Future[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._unhear: Callable[[], None]
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the server's file, begin to load the models; a second call waits for the first.

        Raises:
            ConfigError: The file cannot be opened.
        """
        if self._started is not None:
            await asyncio.shield(self._started)
            return
        self._started = asyncio.get_running_loop().create_future()
        try:
            await self.state.open()
        except BaseException as error:
            self._started.set_exception(error)
            self._started.exception()  # it is raised here as well
            self._started = None
            raise
        self._unhear = on_stop_signal(self.drain)
        self.run_watch.start()
        self.retention.start()
        if self.settings.ingest:
            self.upload_worker.start()
        self._warming = asyncio.create_task(self._warm())
        self._started.set_result(None)

    async def stop(self) -> None:
        """Finish what was accepted, or end it at the timeout; then close everything."""
        if self._started is None:
            return
        self.drain()
        await self.queue.drained()
        await self.background.finished()
        self._unhear()
        while self.on_stop:
            await self.on_stop.pop()()
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.retention.stop()
        await self.upload_worker.stop(self._seconds_left())
        await self.run_watch.stop()
        await asyncio.to_thread(self.flows.close)
        await self.state.close()
        if self._ending is not None:
            self._ending.cancel()
        self._started = self._ending = None

    def drain(self) -> None:
        """Accept nothing new; end what runs `shutdown_timeout` after the first call."""
        self.queue.drain()
        self.upload_worker.drain()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(
                self.settings.shutdown_timeout, self.answering.interrupt
            )

    def _seconds_left(self) -> float:
        assert self._ending is not None  # noqa: S101 - of `drain`
        return max(self._ending.when() - asyncio.get_running_loop().time(), 0.0)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Started within, stopped behind."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def ended(self, exchange: Exchange) -> None:
        """Count and log a request that was answered."""
        self.metrics.answered(exchange)
        exchange.log()

    def check_ready(self) -> None:
        """See whether the models are loaded and questions are accepted.

        Raises:
            Problem: 503, they are not.
        """
        if not self.flows.opened.issuperset(self.pipelines):
            raise self._unready
        if self.queue.draining:
            raise Problem(503, "stopping", "the server is shutting down")

    async def _warm(self) -> None:
        """Open what the pipelines need before the first question comes, however often it takes."""
        for wait in _pauses():
            try:
                for pipeline in self.pipelines.values():
                    (await self.flows.lease(pipeline, single_user())).close()
            except Exception as error:  # noqa: BLE001 - reported by /ready
                self._unready = problem_of(error)
                log.error("a pipeline cannot be opened, the next try is in %g s: %s", wait, error)
                await asyncio.sleep(wait)
            else:
                return

    def _address(self, pipeline: str, collection: str) -> Address:
        return self.flows.binding(self.pipelines[pipeline], collection).address


def _pauses() -> Iterator[float]:
    """Seconds between tries to open the pipelines."""
    wait = FIRST_PAUSE
    while True:
        yield wait
        wait = min(2 * wait, LONGEST_PAUSE)
