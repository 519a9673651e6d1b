"""The flows as each identity uses them: over its collections, with stored states of its own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rag.files import write_atomically
from rag.flow import Flow
from rag.flow.absence import needed
from rag.flow.resources import Resource
from rag.index import Index, IndexBinding, IndexWriter
from rag.index.answers import Answers
from rag.index.binding import SHARED
from rag.index.store import Address, Store
from rag.index.union import RestrictedStore, UnionStore
from rag.locks import FileLock
from rag.models import LLM, Embedder
from rag.serve.errors import Problem
from rag.serve.identity.identity import EVERY_GROUP, Identity
from rag.serve.pipelines.indexes import collection_of, searched, writes
from rag.serve.pipelines.pipeline import Pipeline, Pipelines
from rag.tools import Tools


@dataclass
class _Open:
    """A flow or a store that is open: how many use it, and how it is closed."""

    value: Flow | Store
    close: Callable[[], None]
    users: int = 0


class Lease:
    """A flow that stays open until the lease is closed."""

    def __init__(self, flow: Flow, release: Callable[[], None]) -> None:
        self.flow, self._release = flow, release

    def close(self) -> None:
        """The flow may be closed when room is needed; a second call does nothing."""
        release, self._release = self._release, _nothing
        release()


class Flows:
    """The flows of each identity.

    Models are opened once. A collection is an index beside the pipeline's own (`Address.of`);
    several are searched as one. States of a document's chunks are salted by its collection, all
    other states and answers by user. Salts are derived from the server's secret, so that no request
    can name one. What a pipeline reaches in any other way (a vector store, a database) is shared.

    Args:
        pipelines: What is served.
        data: The folder of the secret, and of what is computed from several indexes together.
        most: Flows that stay open while nobody uses them; those used longest ago are closed, and
            the indexes that no other flow uses with them.
    """

    def __init__(self, pipelines: Pipelines, data: Path, most: int) -> None:
        self._pipelines, self._data, self._most = pipelines, data, most
        self._lock = threading.RLock()
        self._flows: OrderedDict[object, _Open] = OrderedDict()
        self._stores: dict[str, _Open] = {}
        self.opened: set[str] = set()
        """Names of the pipelines that could be opened."""

    async def lease(self, pipeline: Pipeline, identity: Identity) -> Lease:
        """The flow of an identity, its resources open.

        A thread opens them, and looks for indexes that are not open.

        Raises:
            ConfigError, IndexStateError, ModelError: A resource cannot be opened.
        """
        if self._lock.acquire(blocking=False):  # else something is being opened
            try:
                found = self._at_hand(pipeline, identity)
            finally:
                self._lock.release()
            if found is not None:
                return found
        opening = asyncio.ensure_future(asyncio.to_thread(self.open, pipeline, identity))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_release)
            raise

    def open(self, pipeline: Pipeline, identity: Identity) -> Lease:
        """As `lease`, for callers that may wait."""
        with self._lock:
            key = self._key(pipeline, identity, self._searched(pipeline, identity))
            found = self._flows.get(key)
            if found is None:
                with ExitStack() as opened:
                    flow = self._bound(pipeline.flow, identity, opened)
                    opened.callback(flow.close)
                    found = self._flows[key] = _Open(flow, opened.pop_all().close)
            self.opened.add(pipeline.name)
            lease = self._leased(key, found)
            self._close_idle()
            return lease

    def _at_hand(self, pipeline: Pipeline, identity: Identity) -> Lease | None:
        """A lease of a flow that is open, where nothing has to be looked up to know it."""
        places = self._searched(pipeline, identity)
        if any(address.key not in self._stores for _, address in places):
            return None
        key = self._key(pipeline, identity, places)
        found = self._flows.get(key)
        return None if found is None else self._leased(key, found)

    def binding(self, pipeline: Pipeline, collection: str) -> IndexBinding:
        """The index that uploads into a collection go to, and how it is filled.

        Raises:
            Problem: 409, the pipeline searches no index of its own.
        """
        names = pipeline.indexes
        if not names:
            raise Problem(
                409, "no_index", f"the pipeline {pipeline.name!r} has no index to upload to",
                where="pipeline", fix="upload to where it searches",
            )  # fmt: skip
        return IndexBinding(pipeline.flow.resources, index=names[0], collection=collection)

    def embedder(self, flow: Flow) -> Embedder:
        """The embedder that the flow's indexes are made with; may be opened."""
        return flow.resources.get("embedder", Embedder)

    @property
    def stores(self) -> set[str]:
        """Keys of the addresses of the open indexes."""
        with self._lock:
            return set(self._stores)

    def salt(self, identity: Identity) -> str:
        """What separates a user's stored states and answers from all others.

        Those who see the whole shared collection and nothing else share theirs.
        """
        if identity.collections == (SHARED,) and EVERY_GROUP in identity.groups:
            return ""
        return self._digest("user", identity.user)

    def close(self) -> None:
        """Close what was opened, shared models last."""
        with self._lock:
            for one in self._flows.values():
                one.close()
            for pipeline in self._pipelines.values():
                pipeline.flow.close()
            self._flows.clear()

    def _leased(self, key: object, found: _Open) -> Lease:
        self._flows.move_to_end(key)
        found.users += 1
        assert isinstance(found.value, Flow)  # noqa: S101 - of `_flows`
        return Lease(found.value, lambda: self._left(found))

    def _searched(self, pipeline: Pipeline, identity: Identity) -> list[tuple[str, Address]]:
        return searched(pipeline.flow, pipeline.indexes, identity.collections or ())

    def _key(
        self, pipeline: Pipeline, identity: Identity, places: Iterable[tuple[str, Address]]
    ) -> object:
        """What two questions have in common that may use the same open flow."""
        there = tuple(collection for collection, address in places if self._exists(address))
        return pipeline.name, identity.user, identity.collections, identity.groups, there

    def _exists(self, address: Address) -> bool:
        """Whether there is an index; one that is open need not be looked for again."""
        return address.key in self._stores or address.exists()

    def _left(self, one: _Open) -> None:
        with self._lock:
            one.users -= 1
            self._close_idle()

    def _close_idle(self) -> None:
        idle = [key for key, one in self._flows.items() if not one.users]
        for key in idle[: max(len(idle) - self._most, 0)]:
            self._flows.pop(key).close()

    def _bound(
        self, flow: Flow, identity: Identity, opened: ExitStack, outer: Flow | None = None
    ) -> Flow:
        """The flow with the identity's resources, opened, those of its inner flows too.

        Args:
            flow: A pipeline's, or a tool's.
            identity: Whose they are to be.
            opened: Releases them.
            outer: Of a tool's flow: the flow of its agent, whose resources it inherits.
        """

        def bind(one: Flow) -> dict[str, Resource]:
            embeds = one if "embedder" in one.resources.specs else outer or flow
            return {
                name: self._resource(one, embeds, name, kind, identity, opened)
                for name, kind in needed(one).items()
                if (one is flow and outer is None) or name in one.resources.specs
            }

        return flow.bound(bind)

    def _resource(
        self,
        flow: Flow,
        embeds: Flow,
        name: str,
        kind: type[Resource],
        identity: Identity,
        opened: ExitStack,
    ) -> Resource:
        """A flow's resource for an identity.

        Args:
            flow: Names the resource.
            embeds: Has the embedder, should the resource be an index.
            name: The resource's name.
            kind: Its kind.
            identity: Whose it is to be.
            opened: Releases it.
        """
        spec = flow.resources.specs.get(name, kind.default)
        if issubclass(kind, Index | IndexWriter) and not isinstance(spec, Resource):
            return self._index(flow, embeds, name, identity, opened)
        resource = flow.resources.get(name, kind)
        salt = self.salt(identity)
        if isinstance(resource, Answers) and salt:
            return resource.salted(salt)
        if isinstance(resource, Tools):
            return resource.over(lambda inner: self._bound(inner, identity, opened, embeds))
        return self._salted(resource, identity) if isinstance(resource, LLM) else resource

    def _index(
        self, flow: Flow, embeds: Flow, name: str, identity: Identity, opened: ExitStack
    ) -> Index:
        """What the identity may see of its collections, as one index, read and written.

        What is written goes to the last collection.
        """
        addresses = [collection_of(flow, one, name) for one in identity.collections or ()]
        own = addresses[-1]
        if writes(flow, name) and not own.exists():
            embedder = self.embedder(embeds)
            own.writer(embedder.id, embedder.dim, create=True, embed=None).close()
        stores = {
            name: self._store(one, opened)
            for name, one in zip(identity.collections or (), addresses, strict=True)
            if self._exists(one)
        }
        everything = EVERY_GROUP in identity.groups
        if everything and len(addresses) == len(stores) == 1:
            return Index(own, next(iter(stores.values())))
        embedder = self.embedder(embeds)
        parts = [*(one.key for one in addresses), "", *sorted(identity.groups)]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        derived = self._data / "derived" / digest
        store: Store = UnionStore(stores, embedder.id, embedder.dim, derived)
        if not everything:
            seen = identity.groups | {identity.user}
            store = RestrictedStore(store, seen, derived)
        return Index(own, store)

    def _store(self, address: Address, opened: ExitStack) -> Store:
        """An open store, which all flows share that search it."""
        one = self._stores.get(address.key)
        if one is None:
            store = address.open()
            one = self._stores[address.key] = _Open(store, store.close)
        one.users += 1
        opened.callback(self._release_store, address.key)
        assert not isinstance(one.value, Flow)  # noqa: S101 - of `_stores`
        return one.value

    def _release_store(self, key: str) -> None:
        one = self._stores[key]
        one.users -= 1
        if not one.users:
            del self._stores[key]
            one.close()

    def _salted(self, llm: LLM, identity: Identity) -> LLM:
        """The model, whose states of shared documents all users of their collection find."""
        from rag.models.local.model import LocalLLM

        salt = self.salt(identity)
        if not salt or not isinstance(llm, LocalLLM):
            return llm  # a model that runs elsewhere stores nothing here
        names = [one for one in identity.collections or () if one != SHARED]
        shared = {name: self._digest("collection", name) for name in names}
        if SHARED in (identity.collections or ()):
            shared[SHARED] = ""
        return llm.salted(salt, shared)

    def _digest(self, *names: str) -> str:
        return hmac.new(self.secret(), "\0".join(names).encode(), hashlib.sha256).hexdigest()

    def secret(self) -> bytes:
        """The server's secret: 32 random bytes, made once."""
        path = self._data / "secret"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name("secret.lock"), remove=True):
                if not path.exists():
                    write_atomically(path, secrets.token_bytes(32), private=True)
        return path.read_bytes()


def _nothing() -> None:
    """Stands where there is nothing more to release."""


def _release(opening: asyncio.Future[Lease]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
