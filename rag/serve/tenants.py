"""Tenants: each has its own index and its own salt for stored states, over shared models."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.flow import Flow, Operator, SubFlow
from rag.flow.resources import Resource
from rag.serve.keys import TENANT

if TYPE_CHECKING:
    from rag.index import Index
    from rag.models import LLM, Embedder

DEFAULT = "default"
"""The tenant of a server without keys: the pipeline's own index, no salt."""


class Tenants:
    """The flows of each tenant.

    Models are opened once. A tenant's index lies beside the pipeline's, in
    `INDEX.tenants/TENANT`; its salt is derived from the server's secret, so that no request can
    name one. What a pipeline reaches in any other way (a vector store, a database) is shared.

    Args:
        flows: Name to flow, as the pipelines have them.
        data: The folder that keeps the secret.

    Raises:
        ConfigError: An inner flow has resources of its own.
    """

    def __init__(self, flows: dict[str, Flow], data: Path) -> None:
        self._flows = flows
        self._data = data
        self._lock = threading.RLock()
        self._made: dict[tuple[str, str], Flow] = {}
        self._indexes: dict[Path, Index] = {}
        self._salted: dict[tuple[int, str], Any] = {}
        for flow in flows.values():
            for node in flow.walk():
                if isinstance(node, SubFlow) and node.flow.resources.specs:
                    raise ConfigError(
                        "an inner flow has resources of its own, which tenants would share",
                        where=flow.name,
                        fix="name the resources in the outer pipeline",
                    )

    def flow(self, name: str, tenant: str) -> Flow:
        """A tenant's flow, its resources open; opening may take seconds.

        Raises:
            ConfigError, IndexStateError, ModelError: A resource cannot be opened.
        """
        found = self._made.get((name, tenant))
        if found is not None:
            return found
        with self._lock:
            if (name, tenant) not in self._made:
                self._made[name, tenant] = self._make(self._flows[name], tenant)
            return self._made[name, tenant]

    def is_open(self, name: str, tenant: str) -> bool:
        """Whether `flow` returns at once."""
        return (name, tenant) in self._made

    def index_path(self, flow: Flow, tenant: str, spec: Any = None) -> Path:
        """The folder of a tenant's index."""
        from rag.index import Index
        from rag.index.spec import IndexSpec

        spec = spec or flow.resources.specs.get("index", Index.default)
        own = flow.resources.base / IndexSpec.of(spec).path.expanduser()
        if tenant == DEFAULT:
            return own
        return own.with_name(f"{own.name}.tenants") / folder(tenant)

    def embedder(self, flow: Flow) -> Embedder:
        """The embedder that the flow's indexes are made with."""
        from rag.models import Embedder

        return flow.resources.get("embedder", Embedder)

    def salt(self, tenant: str) -> str:
        """What separates a tenant's stored states from all others."""
        if tenant == DEFAULT:
            return ""
        return hmac.new(self._secret(), tenant.encode(), hashlib.sha256).hexdigest()

    def close(self) -> None:
        """Close what was opened, shared models last."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            for flow in self._flows.values():
                flow.close()
            self._made.clear()
            self._indexes.clear()
            self._salted.clear()

    def _make(self, flow: Flow, tenant: str) -> Flow:
        from rag.index import Index, IndexWriter
        from rag.models import LLM

        opened: dict[str, Resource] = {}
        for name, kind in _needed(flow):
            spec = flow.resources.specs.get(name, kind.default)
            if issubclass(kind, Index | IndexWriter) and not isinstance(spec, Resource):
                opened[name] = self._index(flow, self.index_path(flow, tenant, spec))
            elif issubclass(kind, LLM):
                opened[name] = self._llm(flow.resources.get(name, kind), tenant)
            else:
                opened[name] = flow.resources.get(name, kind)
        return flow.with_resources(**opened)

    def _index(self, flow: Flow, path: Path) -> Index:
        from rag.index import Index

        if path not in self._indexes:
            if not path.exists():
                # An empty one answers that it found nothing, until documents come.
                embedder = self.embedder(flow)
                Index.writer(path, embedder=embedder.id, dim=embedder.dim).close()
            self._indexes[path] = Index.open(path)
        return self._indexes[path]

    def _llm(self, llm: LLM, tenant: str) -> LLM:
        from rag.models.local.model import LocalLLM

        if tenant == DEFAULT or not isinstance(llm, LocalLLM):
            return llm  # a model that runs elsewhere stores nothing here
        if (id(llm), tenant) not in self._salted:
            self._salted[id(llm), tenant] = llm.salted(self.salt(tenant))
        found: LLM = self._salted[id(llm), tenant]
        return found

    def _secret(self) -> bytes:
        path = self._data / "secret"
        with self._lock:
            try:
                return path.read_bytes()
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Another worker may be at the same: whoever links first has made it.
            new = path.with_name(f"secret.{secrets.token_hex(8)}")
            with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(new)
            except FileExistsError:
                pass
            finally:
                new.unlink()
            return path.read_bytes()


def folder(tenant: str) -> str:
    """The name of a tenant's folders: its own where it is a plain one, else a digest."""
    if TENANT.fullmatch(tenant):
        return tenant
    return "h_" + hashlib.sha256(tenant.encode()).hexdigest()[:40]


def _needed(flow: Flow) -> Iterator[tuple[str, type[Resource]]]:
    """Name and class of each resource that the flow's steps take."""
    seen = set()
    for node in flow.walk():
        if not isinstance(node, Operator):
            continue
        for port in node.signature().resources:
            known = port.name in flow.resources.specs or port.type.default is not None
            if port.name not in seen and (port.required or known):
                seen.add(port.name)
                yield port.name, port.type
