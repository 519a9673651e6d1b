"""What the endpoints share: flows, queue, store, uploads; started once, stopped in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.flow import Flow
from rag.serve.conversations import Conversations
from rag.serve.http.problems import Problem, problem_of
from rag.serve.metrics import Metrics
from rag.serve.pipeline import served
from rag.serve.queue import Gate
from rag.serve.runs import Runs
from rag.serve.settings import Settings
from rag.serve.store import Store
from rag.serve.tenants import DEFAULT, Tenants
from rag.serve.uploads import Documents

if TYPE_CHECKING:
    from rag.models import LLM
    from rag.serve.asking import Asking

log = logging.getLogger("rag.serve")


class Service:
    """A server's inner life.

    Args:
        flows: The flows, or the one.
        settings: Its limits.

    Raises:
        ConfigError: A flow cannot be served.
    """

    def __init__(self, flows: Flow | Mapping[str, Flow], settings: Settings) -> None:
        if isinstance(flows, Flow):
            flows = {flows.name or "flow": flows}
        if not flows:
            raise ConfigError("there is no flow to serve", fix="give one")
        self.flows = {name: served(flow) for name, flow in flows.items()}
        self.settings = settings
        self.gate = Gate(
            settings.concurrency, settings.queue, settings.queue_per_tenant, settings.patience
        )
        self.metrics = Metrics(self.gate)
        self.tenants = Tenants(self.flows, settings.data)
        self.asking: set[Asking] = set()
        self.unready: Problem | None = Problem(503, "starting", "the models are being loaded")
        self._started: asyncio.Future[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._uploads = False

    async def start(self) -> None:
        """Open the store, begin to load the models; a second call waits for the first.

        Raises:
            ConfigError: The store cannot be opened.
        """
        if self._started is not None:
            await asyncio.shield(self._started)
            return
        self._started = asyncio.get_running_loop().create_future()
        try:
            path = self.settings.data / "serve.sqlite"
            self.store = await asyncio.to_thread(Store, path)
        except BaseException as error:
            self._started.set_exception(error)
            self._started.exception()  # seen: it is raised here as well
            self._started = None
            raise
        self.runs = Runs(self.store, self.settings.keep_runs)
        self.conversations = Conversations(self.store)
        self.documents = Documents(self)
        self.documents.start()
        self._warming = asyncio.create_task(self._warm())
        self._started.set_result(None)

    async def _warm(self) -> None:
        try:
            for name in self.flows:
                await self.flow(name, DEFAULT)
        except Exception as error:  # noqa: BLE001 - told by /ready
            self.unready = problem_of(error)
            log.error("the pipeline cannot be opened: %s", error)
        else:
            self.unready = None

    async def stop(self) -> None:
        """Finish what was accepted, or tell its readers; then close everything."""
        if self._started is None:
            return
        self.gate.drain()
        try:
            async with asyncio.timeout(self.settings.shutdown_seconds):
                await self.gate.drained()
        except TimeoutError:
            self.interrupt()
            await self.gate.drained()
        if self._warming is not None:
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.documents.stop()
        await asyncio.to_thread(self.tenants.close)
        await asyncio.to_thread(self.store.close)
        self._started = None

    def interrupt(self) -> None:
        """End all runs, those that wait included; their readers are told."""
        self.gate.refuse()
        for asking in list(self.asking):
            asking.stop()

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Started within, stopped behind."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def pipeline(self, name: str | None) -> str:
        """The pipeline's name; the first one where none is named.

        Raises:
            Problem: 404, there is none of this name.
        """
        if name is None:
            return next(iter(self.flows))
        if name not in self.flows:
            raise Problem(
                404, "no_pipeline", f"there is no pipeline {name[:64]!r}",
                fix=f"there are: {', '.join(self.flows)}",
            )  # fmt: skip
        return name

    async def flow(self, name: str, tenant: str) -> Flow:
        """A tenant's flow; the first time this opens what it needs, in a thread."""
        if self.tenants.is_open(name, tenant):
            return self.tenants.flow(name, tenant)
        return await asyncio.to_thread(self.tenants.flow, name, tenant)

    def llm(self, flow: Flow) -> LLM | None:
        """The language model that the flow answers with, if it has one."""
        from rag.models import LLM

        for spec in flow.resources.specs.values():
            if isinstance(spec, LLM):
                return spec
        return None
