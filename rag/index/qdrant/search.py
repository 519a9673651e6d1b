"""Searches over the points that count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rag.index.filters import parse_filter
from rag.index.qdrant.client import BLOCK, DENSE, EQUAL, WORDS, Client
from rag.index.qdrant.conditions import field, on_points
from rag.index.qdrant.points import chunk_of, query_vector
from rag.index.qdrant.sources import Sources
from rag.index.ranking import aggregated, ranked
from rag.index.source_plan import digest
from rag.index.types import Aggregate, Candidates, Hit
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.index.store import Score, Where

SPARE = 16
"""Points beyond those wanted, for equal scores and for points that do not count."""
TRIES = 5
"""Times that a search is made again while writes replace what it found."""
VALUES = 100_000
"""Different strings of a metadata key that an order can be looked for among."""


class Search:
    """Searches of one index.

    Args:
        client: Of the index.
        sources: Says which points count.
    """

    def __init__(self, client: Client, sources: Sources) -> None:
        self._client, self._sources = client, sources

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """See `Store.dense`."""
        found = self._best(vector.tolist(), DENSE, k, self._filter(where))
        return [Hit(chunk_of(point.payload), float(point.score)) for point in found]

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """See `Store.sparse`."""
        words = query_vector(query)
        if words is None:
            return []
        found = self._best(words, WORDS, k, self._filter(where))
        return [Hit(chunk_of(point.payload), float(point.score)) for point in found]

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """See `Store.hybrid`."""
        import numpy as np

        words, narrowed = query_vector(query), self._filter(where)

        def find() -> list[Any]:
            near = self._best(vector.tolist(), DENSE, depth, narrowed)
            alike = self._best(words, WORDS, depth, narrowed) if words is not None else []
            return list({point.id: point for point in (*near, *alike)})

        def load() -> tuple[list[Any], set[str]]:
            ids = find()
            points = self._client("retrieve", ids=ids, with_vectors=[DENSE]) if ids else []
            current, superseded = self._sources.sift(points)
            gone = set(ids) - {point.id for point in points}
            return current, superseded | gone

        points = sorted(_settled(load), key=_order)
        if not points:
            return []
        vectors = np.array([point.vector[DENSE] for point in points], dtype=np.float32)
        known = self._words_of(words, points)
        candidates = Candidates(vectors @ vector, known, vectors)
        chunks = [chunk_of(point.payload) for point in points]
        return ranked(chunks, candidates, score(candidates), k)

    def by_source(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """See `Store.dense_sources`."""
        import numpy as np

        def load() -> tuple[list[Any], set[str]]:
            found = self._client.scroll(
                scroll_filter=self._filter(where), with_vectors=[DENSE],
                with_payload=["source", "generation", "number", "order"],
            )  # fmt: skip
            return self._sources.sift(list(found))

        points = sorted(_settled(load), key=lambda one: (one.payload["source"], _order(one)))
        if not points:
            return []
        names = np.array([point.payload["source"] for point in points], dtype=object)
        starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
        vectors = np.array([point.vector[DENSE] for point in points], dtype=np.float32)
        cosines = vectors @ vector
        scores = aggregated(vectors, cosines, starts, vector, aggregate)
        best = np.argsort(-scores, kind="stable")[:k]
        ends = [*starts[1:], len(points)]
        nearest = [int(starts[n] + cosines[starts[n] : ends[n]].argmax()) for n in best]
        chunks = self._chunks([points[at].id for at in nearest])
        return [
            Hit(chunks[points[near].id], float(scores[n]), {"dense": float(cosines[near])})
            for n, near in zip(best, nearest, strict=True)
            if points[near].id in chunks
        ]

    def current(self, narrowed: Any, payload: Sequence[str] | bool = True) -> list[Any]:
        """All points that pass a filter and count, in the order of insertion."""

        def load() -> tuple[list[Any], set[str]]:
            found = self._client.scroll(scroll_filter=narrowed, with_payload=payload)
            return self._sources.sift(list(found))

        return sorted(_settled(load), key=_order)

    def matching(self, key: str, values: Sequence[str]) -> list[Chunk]:
        """The chunks with one of these in a field of the payload, in the order of insertion."""
        from qdrant_client import models

        if not values:
            return []
        match = models.MatchAny(any=list(values))
        narrowed = models.Filter(must=[models.FieldCondition(key=key, match=match)])
        return [chunk_of(point.payload) for point in self.current(narrowed)]

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """See `Store.vectors_of_equal`: also of points that do not count, whose vectors are right.

        Points that an earlier version has written are not found.
        """
        import numpy as np
        from qdrant_client import models

        wanted = {digest(chunk.indexed_text): at for at, chunk in enumerate(chunks)}
        found: dict[int, np.ndarray] = {}
        for _ in range(TRIES):
            if not wanted:
                break
            match = models.MatchAny(any=list(wanted))
            points, _ = self._client(
                "scroll", limit=BLOCK, with_vectors=[DENSE], with_payload=[EQUAL],
                scroll_filter=models.Filter(must=[models.FieldCondition(key=EQUAL, match=match)]),
            )  # fmt: skip
            for point in points:
                at = wanted.pop(point.payload[EQUAL], None)
                if at is not None:
                    found[at] = np.array(point.vector[DENSE], dtype=np.float32)
            if len(points) < BLOCK:  # of one text there may be more
                break
        return found

    def _best(self, query: Any, using: str, k: int, narrowed: Any) -> list[Any]:
        """The best points that count, by falling score, ties in the order of insertion."""

        def load() -> tuple[list[Any], set[str]]:
            limit = k + SPARE
            while True:
                found = self._client(
                    "query_points", query=query, using=using, limit=limit, query_filter=narrowed,
                    with_payload=True,
                ).points  # fmt: skip
                current, superseded = self._sources.sift(found)
                if len(current) >= k or len(found) < limit:
                    return current, superseded
                limit *= 4

        # Equal vectors may get scores that differ in their last bits.
        return sorted(_settled(load), key=lambda one: (-round(one.score, 6), _order(one)))[:k]

    def _words_of(self, words: Any, points: Sequence[Any]) -> np.ndarray:
        """The scores by words of points: float32 [points], 0 where no word is shared."""
        import numpy as np
        from qdrant_client import models

        if words is None:
            return np.zeros(len(points), dtype=np.float32)
        ids = [point.id for point in points]
        found = self._client(
            "query_points", query=words, using=WORDS, limit=len(ids), with_payload=False,
            query_filter=models.Filter(must=[models.HasIdCondition(has_id=ids)]),
        ).points  # fmt: skip
        scores = {point.id: point.score for point in found}
        return np.array([scores.get(key, 0.0) for key in ids], dtype=np.float32)

    def _chunks(self, ids: list[Any]) -> dict[Any, Chunk]:
        found = self._client("retrieve", ids=ids) if ids else []
        return {point.id: chunk_of(point.payload) for point in found}

    def _filter(self, where: Where) -> Any:
        if not where:
            return None
        from qdrant_client import models

        return models.Filter(must=[on_points(parse_filter(where), self._values)])

    def _values(self, name: str) -> list[str]:
        """The different strings of a field."""
        self._client.index_field(name)
        found = self._client("facet", key=name, limit=VALUES, exact=True)
        return [str(hit.value) for hit in found.hits]

    def index_metadata(self, keys: Sequence[str]) -> None:
        """See `Store.index_metadata`."""
        for key in keys:
            self._client.index_field(field("s", key))
            self._client.index_field(field("n", key), "float")


def _settled(load: Callable[[], tuple[list[Any], set[str]]]) -> list[Any]:
    """The points that count, found while nothing of what was found is being replaced.

    Points that are left of a write that was killed are found again and again: then nothing is.
    """
    before: set[str] = set()
    for _ in range(TRIES):
        current, superseded = load()
        if not superseded - before:
            break
        before = superseded
    return current


def _order(point: Any) -> int:
    return int(point.payload["order"])
