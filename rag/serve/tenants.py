"""Tenants: each has its own index and its own salt for stored states, over shared models."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import threading
from pathlib import Path

from rag.files import write_atomically
from rag.flow import Flow, SubFlow
from rag.flow.resources import Resource
from rag.index import Index, IndexBinding, IndexWriter
from rag.index.answers import Answers
from rag.index.store import Address
from rag.locks import FileLock
from rag.models import LLM, Embedder
from rag.serve.keys import TENANT
from rag.serve.pipeline import Pipeline, Pipelines
from rag.tools import Tools

DEFAULT = "default"
"""The tenant of a server without keys: the pipeline's own index, no salt."""


class Tenants:
    """The flows of each tenant.

    Models are opened once. A tenant's index is beside the pipeline's, a folder
    `INDEX.tenants/TENANT` or a collection of its own on the same server; its salt is derived from
    the server's secret, so that no request can name one. What a pipeline reaches in any other way
    (a vector store, a database) is shared.

    Args:
        pipelines: What is served.
        data: The folder that keeps the secret.
    """

    def __init__(self, pipelines: Pipelines, data: Path) -> None:
        self._pipelines, self._data = pipelines, data
        self._lock = threading.RLock()
        self._flows: dict[tuple[str, str], Flow] = {}
        self._indexes: dict[str, Index] = {}
        self._salted: dict[tuple[int, str], LLM] = {}

    async def flow(self, pipeline: Pipeline, tenant: str) -> Flow:
        """A tenant's flow, its resources open; the first time, they are opened in a thread.

        Raises:
            ConfigError, IndexStateError, ModelError: A resource cannot be opened.
        """
        flow = self._flows.get((pipeline.name, tenant))
        if flow is None:
            flow = await asyncio.to_thread(self.open, pipeline, tenant)
        return flow

    def open(self, pipeline: Pipeline, tenant: str) -> Flow:
        """As `flow`, for callers that may wait."""
        with self._lock:
            if (pipeline.name, tenant) not in self._flows:
                self._flows[pipeline.name, tenant] = self._bound(pipeline.flow, tenant)
            return self._flows[pipeline.name, tenant]

    def index_address(self, flow: Flow, tenant: str, name: str = "index") -> Address:
        """Where a tenant's index is.

        Args:
            flow: Has the index.
            tenant: Whose it is.
            name: The name of the resource.
        """
        own = IndexBinding(flow.resources, index=name).address
        return own if tenant == DEFAULT else own.of_tenant(folder(tenant))

    def embedder(self, flow: Flow) -> Embedder:
        """The embedder that the flow's indexes are made with; may be opened."""
        return flow.resources.get("embedder", Embedder)

    def salt(self, tenant: str) -> str:
        """What separates a tenant's stored states from all others."""
        if tenant == DEFAULT:
            return ""
        return hmac.new(self._secret(), tenant.encode(), hashlib.sha256).hexdigest()

    def close(self) -> None:
        """Close what was opened, shared models last."""
        with self._lock:
            for flow in self._flows.values():
                flow.close()
            for index in self._indexes.values():
                index.close()
            for pipeline in self._pipelines.values():
                pipeline.flow.close()
            self._flows.clear()
            self._indexes.clear()
            self._salted.clear()

    def _bound(self, flow: Flow, tenant: str, outer: Flow | None = None) -> Flow:
        """The flow with the tenant's resources, opened, those of its inner flows too.

        Args:
            flow: A pipeline's, or a tool's.
            tenant: Whose they are to be.
            outer: Of a tool's flow: the flow of its agent, whose resources it inherits.
        """

        def bind(one: Flow) -> dict[str, Resource]:
            embeds = one if "embedder" in one.resources.specs else outer or flow
            return {
                name: self._resource(one, embeds, name, kind, tenant)
                for name, kind in _needed(one).items()
                if (one is flow and outer is None) or name in one.resources.specs
            }

        return flow.bound(bind)

    def _resource(
        self, flow: Flow, embeds: Flow, name: str, kind: type[Resource], tenant: str
    ) -> Resource:
        """A flow's resource for a tenant.

        Args:
            flow: Names the resource.
            embeds: Has the embedder, should the resource be an index.
            name: The resource's name.
            kind: Its kind.
            tenant: Whose it is to be.
        """
        spec = flow.resources.specs.get(name, kind.default)
        if issubclass(kind, Index | IndexWriter) and not isinstance(spec, Resource):
            address = self.index_address(flow, tenant, name)
            if address.key not in self._indexes:
                if not address.exists():
                    # An empty one answers that it found nothing, until documents come.
                    embedder = self.embedder(embeds)
                    Index.writer(address, embedder=embedder.id, dim=embedder.dim).close()
                self._indexes[address.key] = Index.open(address)
            return self._indexes[address.key]
        opened = flow.resources.get(name, kind)
        if isinstance(opened, Answers) and tenant != DEFAULT:
            return opened.salted(self.salt(tenant))
        if isinstance(opened, Tools):
            return opened.over(lambda inner: self._bound(inner, tenant, embeds))
        return self._llm(opened, tenant) if isinstance(opened, LLM) else opened

    def _llm(self, llm: LLM, tenant: str) -> LLM:
        from rag.models.local.model import LocalLLM

        if tenant == DEFAULT or not isinstance(llm, LocalLLM):
            return llm  # a model that runs elsewhere stores nothing here
        if (id(llm), tenant) not in self._salted:
            self._salted[id(llm), tenant] = llm.salted(self.salt(tenant))
        return self._salted[id(llm), tenant]

    def _secret(self) -> bytes:
        path = self._data / "secret"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name("secret.lock"), remove=True):
                if not path.exists():
                    write_atomically(path, secrets.token_bytes(32), private=True)
        return path.read_bytes()


def folder(tenant: str) -> str:
    """The name of a tenant's folders: its own where it is a plain one, else a digest."""
    if TENANT.fullmatch(tenant):
        return tenant
    return "h_" + hashlib.sha256(tenant.encode()).hexdigest()[:40]


def _needed(flow: Flow) -> dict[str, type[Resource]]:
    """Name to kind of the resources that the flow's steps take, but for inner flows' own."""
    inner = [
        (place, node.flow.resources.specs)
        for place, node in flow.walk()
        if isinstance(node, SubFlow)
    ]
    return {
        name: kind
        for place, name, kind in flow.needs
        if not any(place.is_within(where) and name in specs for where, specs in inner)
    }
