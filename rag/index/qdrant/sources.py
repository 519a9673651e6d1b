"""Which sources there are, and which points are theirs.

Qdrant changes points one by one. So a write makes new points beside the old ones, and then changes
one point, the source's, which says which generation of points counts: readers leave out all others.
That point is changed only if nobody else has changed it since (compare and set).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rag.index.qdrant.client import MARK, Client
from rag.index.qdrant.points import point_id
from rag.index.store import embedded_again
from rag.index.types import Source

_VERSION = point_id("version")


@dataclass(frozen=True)
class Entry:
    """A source, and its points.

    Attributes:
        source: What is known of it.
        generation: Of the points that are its chunks.
        number: Of the write that made it so, from 1.
    """

    source: Source
    generation: str
    number: int


class Sources:
    """The collection of sources of an index."""

    def __init__(self, client: Client) -> None:
        self._client, self._collection = client, client.current.sources

    def get(self, uris: Iterable[str]) -> dict[str, Entry]:
        """The entries of sources, by URI; those that are not there are missing.

        Raises:
            IndexStateError: The index was embedded again.
        """
        ids = [MARK, *(point_id("source", uri) for uri in uris)]
        found = self._entries(self._client("retrieve", collection=self._collection, ids=ids))
        return {entry.source.uri: entry for entry in found}

    def _entries(self, points: Iterable[Any]) -> Iterator[Entry]:
        for point in points:
            if point.id == MARK:
                if point.payload.get("next"):
                    where = str(self._client.location)
                    raise embedded_again(point.payload["embedder"], where=where)
            elif point.id != _VERSION:
                yield _entry(point)

    def all(self) -> Iterator[Entry]:
        """All entries."""
        return self._entries(self._client.scroll(collection=self._collection))

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in self.all())

    def put(self, entry: Entry, before: Entry | None) -> bool:
        """Write an entry, if the source's is still the one that was there before.

        Returns:
            False: it was not.
        """
        from qdrant_client import models

        source = entry.source
        payload = {
            **source.__dict__, "generation": entry.generation, "number": entry.number,
            "write": uuid.uuid4().hex,
        }  # fmt: skip
        key = point_id("source", source.uri)
        # A point that does not pass the filter stays as it is; one that is not there is made.
        if before is None:
            same = models.Filter(must=[models.HasIdCondition(has_id=[])])
        else:
            same = models.Filter(
                must=[
                    _is("generation", before.generation), _is("number", before.number),
                    _is("digest", before.source.digest),
                ]
            )  # fmt: skip
        self._client(
            "upsert",
            collection=self._collection,
            points=[models.PointStruct(id=key, vector={}, payload=payload)],
            update_filter=same,
        )
        (found,) = self._client("retrieve", collection=self._collection, ids=[key]) or [None]
        return found is not None and found.payload["write"] == payload["write"]

    def remove(self, uri: str) -> None:
        """Remove an entry."""
        ids = [point_id("source", uri)]
        self._client("delete", collection=self._collection, points_selector=ids)

    def version(self) -> str:
        """Changes with every change of what is found."""
        found = self._client("retrieve", collection=self._collection, ids=[_VERSION, MARK])
        list(self._entries(found))
        return next((str(one.payload["version"]) for one in found if one.id == _VERSION), "")

    def renew_version(self) -> None:
        """Let the version be another one."""
        from qdrant_client import models

        payload = {"version": uuid.uuid4().hex}
        points = [models.PointStruct(id=_VERSION, vector={}, payload=payload)]
        self._client("upsert", collection=self._collection, points=points)

    def sift(self, points: Sequence[Any]) -> tuple[list[Any], set[str]]:
        """The points that count, and the ids of those that did until another write.

        The latter may have been found while that write went on: then what is in their place may
        not have been found, and a search is made again.
        """
        entries = self.get({point.payload["source"] for point in points})
        current, superseded = [], set()
        for point in points:
            entry = entries.get(point.payload["source"])
            if entry is not None and entry.generation == point.payload["generation"]:
                current.append(point)
            elif entry is not None and point.payload["number"] < entry.number:
                superseded.add(str(point.id))
        return current, superseded


def _is(key: str, value: str | int) -> Any:
    from qdrant_client import models

    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _entry(point: Any) -> Entry:
    found = point.payload
    names = ("uri", "digest", "size", "mtime_ns", "chunks")
    return Entry(Source(*(found[name] for name in names)), found["generation"], found["number"])
