"""An index embedded again: copied into collections beside it, which then take its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rag.errors import IndexStateError
from rag.index.embedding import whole_documents
from rag.index.local.vectors import unit
from rag.index.qdrant.client import DENSE, MARK, WORDS, Client
from rag.index.qdrant.mark import Mark
from rag.index.qdrant.points import chunk_of
from rag.index.qdrant.selected import batched, points_of
from rag.index.qdrant.sources import Entry, Sources

if TYPE_CHECKING:
    from rag.index.store import Embed
    from rag.text.chunk import Chunk

BATCH = 1_024
"""Chunks that are embedded together."""
AGAIN = ".again."


def embed_again(client: Client, embedder: str, dim: int, embed: Embed) -> None:
    """See `Store.embed_again`.

    Points keep their ids, payloads and words. Writers go on but for the last moment, in which what
    they have changed meanwhile is copied; see `rag.index.qdrant.mark`. A run that was stopped is
    gone on with: a source whose points were copied is not copied again.

    Args:
        client: Of the index.
        embedder: Id of the embedder.
        dim: Length of its vectors.
        embed: Called with all chunks, those within one document together.
    """
    sweep(client)
    target = _target(client, embedder, dim)
    copy, mark = _Copy(client, target, dim, embed), Mark(client)
    copy.bring_up_to_date()
    token = mark.close(embedder)
    try:
        copy.bring_up_to_date()
        Sources(target).renew_version()
        mark.move(token, target.current.collection, embedder, dim)
    except BaseException:
        mark.open(token)
        raise
    sweep(target)


def sweep(client: Client) -> None:
    """Remove the collections that the index was in before it was embedded again.

    Of the last ones the sources stay, with the mark that tells their readers.
    """
    number = _number(client, client.current.collection)
    if not number:
        return
    base, found = client.of(client.location.collection), client.collections()
    before = [name for name in found if _number(client, name) < number]
    for name in before:
        chunks = name.removesuffix(".sources")
        told = _number(client, chunks) in {0, number - 1}  # by a mark
        if name == chunks or not told:
            client("delete_collection", collection=name)
        else:
            client("delete", collection=name, points_selector=_but_mark())
    made = client("get_collection", collection=client.current.sources).config.metadata
    Mark(base).point_to(client.current.collection, made["embedder"], made["dim"])


def _number(client: Client, collection: str) -> int:
    """How often an index was embedded again when it was in a collection.

    Returns:
        0: never; and a number beyond all for collections that are of another index.
    """
    name = collection.removesuffix(".sources")
    if name == client.location.collection:
        return 0
    start, _, number = name.rpartition(AGAIN)
    return int(number) if start == client.location.collection and number.isdigit() else 2**63


def _target(client: Client, embedder: str, dim: int) -> Client:
    """The collections that are to hold the index: made, or what a stopped run has left of them."""
    number = _number(client, client.current.collection) + 1
    target = client.of(f"{client.location.collection}{AGAIN}{number}")
    names = (target.current.collection, target.current.sources)
    there = [name for name in names if client("collection_exists", collection=name)]
    known: Any = None
    if target.current.sources in there:
        known = client("get_collection", collection=target.current.sources).config.metadata
    if known is None or (known["embedder"], known["dim"]) != (embedder, dim):
        for name in there:
            client("delete_collection", collection=name)
        target.create(embedder, dim)
    for name, schema in client("get_collection").payload_schema.items():
        target.index_field(name, schema.data_type)
    return target


class _Copy:
    """What brings the target up to date with the index."""

    def __init__(self, client: Client, target: Client, dim: int, embed: Embed) -> None:
        self._client, self._target, self._dim, self._embed = client, target, dim, embed
        self._old, self._new = Sources(client), Sources(target)

    def bring_up_to_date(self) -> None:
        """Copy the sources that differ, and remove those that are gone."""
        known = {entry.source.uri: entry for entry in self._new.all()}
        for entry in list(self._old.all()):
            before = known.pop(entry.source.uri, None)
            if before != entry:
                self._copy(entry, before)
        for uri in known:
            self._new.remove(uri)
            self._target("delete", points_selector=points_of(uri), wait=True)

    def _copy(self, entry: Entry, before: Entry | None) -> None:
        uri = entry.source.uri
        moved = before is None or before.generation != entry.generation
        if moved:
            for points in batched(self._points(entry)):
                self._target("upsert", points=points, wait=True)
        if not self._new.put(entry, before):
            raise IndexStateError(
                "another process embeds this index again",
                where=str(self._client.location),
                fix="wait until it is done, or stop it",
            )
        if moved:
            gone = points_of(uri, but=entry.generation)
            self._target("delete", points_selector=gone, wait=True)

    def _points(self, entry: Entry) -> Iterator[Any]:
        """The points of a source with their new vectors."""
        from qdrant_client import models

        found = self._client.scroll(
            scroll_filter=points_of(entry.source.uri, generation=entry.generation),
            with_vectors=[WORDS],
        )
        points = sorted(found, key=lambda point: int(point.payload["order"]))
        by_id = {point.payload["id"]: point for point in points}
        chunks: list[Chunk] = [chunk_of(point.payload) for point in points]
        parts = [chunks[start : start + BATCH] for start in range(0, len(chunks), BATCH)]
        for some in whole_documents(parts):
            for chunk, vector in zip(some, unit(self._embed(some), self._dim), strict=True):
                point = by_id[chunk.id]
                vectors = {**(point.vector or {}), DENSE: vector.tolist()}
                yield models.PointStruct(id=point.id, vector=vectors, payload=point.payload)


def _but_mark() -> Any:
    from qdrant_client import models

    return models.Filter(must_not=[models.HasIdCondition(has_id=[MARK])])
