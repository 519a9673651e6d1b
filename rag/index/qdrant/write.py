"""Writing sources: new points first, then one switch, then the old ones go."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rag.index.local.vectors import unit
from rag.index.qdrant.client import Client
from rag.index.qdrant.mark import Mark
from rag.index.qdrant.points import chunk_of, payload_of, point_id, vectors_of, words_vector
from rag.index.qdrant.search import Search
from rag.index.qdrant.selected import batched, points_of
from rag.index.qdrant.sources import Entry, Sources
from rag.index.source_plan import basis_of
from rag.index.types import Source, SourceUpdate, WriteReport

if TYPE_CHECKING:
    import numpy as np

LONGEST = 3_600
"""Seconds that the write of one source takes at most."""


class Writer:
    """What changes an index.

    Args:
        client: Of the index.
        sources: Says which points count.
        search: Finds the points of a source.
        dim: Length of a vector.
    """

    def __init__(self, client: Client, sources: Sources, search: Search, dim: int) -> None:
        self._client, self._sources, self._search, self._dim = client, sources, search, dim
        self._mark = Mark(client)

    def stored(self, uri: str) -> dict[str, str]:
        """See `Store.stored`."""
        found = self._search.current(points_of(uri))
        return {point.payload["id"]: point.payload["metadata"] for point in found}

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Store.write`."""
        report = WriteReport(0, 0, 0)
        for update in updates:
            report += self._write(update)
        return report

    def _write(self, update: SourceUpdate) -> WriteReport:
        plan, uri = update.plan, update.plan.uri
        vectors = unit(update.vectors, self._dim)
        if len(vectors) != len(plan.new):
            raise ValueError(f"{uri}: {len(vectors)} vectors for {len(plan.new)} new chunks")
        changed = WriteReport(0, 0, 0, (uri,))
        before = self._sources.get([uri]).get(uri)
        if basis_of(self.stored(uri)) != plan.basis:
            return changed
        chunks = len(plan.kept) + len(plan.new)
        source = Source(uri, update.digest, update.size, update.mtime_ns, chunks)
        if before is not None and not (plan.new or plan.gone or plan.renewed):
            same = Entry(source, before.generation, before.number)
            if not self._sources.put(same, before):
                return changed
            self._mark.ensure_open()
            return WriteReport.of(plan)
        number = before.number + 1 if before else 1
        after = Entry(source, uuid.uuid4().hex, number)
        switched = False
        try:
            points = [*self._kept(update, before, after), *_new(update, vectors, after)]
            for some in batched(points):
                self._client("upsert", points=some, wait=True)
            switched = self._sources.put(after, before)
        finally:
            if not switched:
                self._delete(points_of(uri, generation=after.generation))
        if not switched:
            return changed
        self._mark.ensure_open()
        self._sources.renew_version()
        self._delete(points_of(uri, up_to=number, but=after.generation))
        return WriteReport.of(plan)

    def delete(self, uris: Sequence[str]) -> int:
        """See `Store.delete`."""
        removed = 0
        for uri in uris:
            entry = self._sources.get([uri]).get(uri)
            if entry is not None:
                self._sources.remove(uri)
                self._mark.ensure_open()
                self._sources.renew_version()
                self._delete(points_of(uri, up_to=entry.number))
                removed += entry.source.chunks
        return removed

    def leftovers(self) -> dict[str, list[Any]]:
        """Source to the ids of points that no reader counts and no write needs."""
        entries = {entry.source.uri: entry for entry in self._sources.all()}
        found: dict[str, list[Any]] = {}
        fields = ["source", "generation", "number", "written"]
        for point in self._client.scroll(with_payload=fields):
            about = point.payload
            entry = entries.get(about["source"])
            if entry is not None and entry.generation == about["generation"]:
                continue
            replaced = entry is not None and about["number"] <= entry.number
            # What is newer than its source may be of a write that is under way.
            if replaced or about["written"] < time.time() - LONGEST:
                found.setdefault(about["source"], []).append(point.id)
        return found

    def sweep(self) -> None:
        """Delete what writes that were killed have left."""
        for ids in self.leftovers().values():
            for some in batched(ids):
                self._client("delete", points_selector=some, wait=True)

    def recount_words(self) -> None:
        """Weigh the words of all chunks again."""
        from qdrant_client import models

        for some in batched(self._client.scroll()):
            weighed = [
                (point.id, words_vector(chunk_of(point.payload).indexed_text)) for point in some
            ]
            points = [models.PointVectors(id=key, vector=words) for key, words in weighed if words]
            if points:
                self._client("update_vectors", points=points, wait=True)

    def _kept(self, update: SourceUpdate, before: Entry | None, after: Entry) -> Iterator[Any]:
        """The points of chunks that stay, as points of the new generation."""
        from qdrant_client import models

        if before is None or not update.plan.kept:
            return
        uri, renewed = update.plan.uri, dict(update.plan.renewed)
        staying = set(update.plan.kept)
        narrowed = points_of(uri, generation=before.generation)
        for point in self._client.scroll(scroll_filter=narrowed, with_vectors=True):
            old = point.payload
            if old["id"] not in staying:
                continue
            metadata = renewed.get(old["id"], old["metadata"])
            yield models.PointStruct(
                id=point_id(after.generation, old["id"]),
                vector=point.vector,
                payload=payload_of(
                    old["id"], uri, old["text"], metadata, old["order"], after.generation,
                    after.number,
                ),
            )  # fmt: skip

    def _delete(self, selected: Any) -> None:
        self._client("delete", points_selector=selected, wait=True)


def _new(update: SourceUpdate, vectors: np.ndarray, after: Entry) -> Iterator[Any]:
    from qdrant_client import models

    order = time.time_ns()
    uri = update.plan.uri
    for number, (chunk, vector) in enumerate(zip(update.plan.new, vectors, strict=True)):
        yield models.PointStruct(
            id=point_id(after.generation, chunk.id),
            vector=vectors_of(vector, chunk.indexed),
            payload=payload_of(
                chunk.id, uri, chunk.text, chunk.metadata, order + number, after.generation,
                after.number,
            ),
        )  # fmt: skip
