"""Sources that are embedded and committed together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from rag.errors import IndexStateError
from rag.index.embedding import document_of, embed_chunks
from rag.index.types import SourcePlan, SourceUpdate, WriteReport
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.index.index import Index
    from rag.models import Embedder

WINDOW = 1024
"""New chunks that are embedded together: sorted by length, they pad little."""
SLICE = 128
"""Chunks between two reports of progress."""
HELD = 4 * WINDOW
"""Chunks, new or not, that wait for a commit."""
EQUAL = 16 * WINDOW
"""Chunks whose vectors are held, so that equal texts in other files are not embedded again."""
ROUNDING = 1e-4
"""How far the squared length of a sound vector may be from 1."""
TRIES = 10
"""Times that a source is planned and written while others change it."""

Vectors: TypeAlias = "Callable[[Sequence[Sequence[Chunk]]], Iterator[np.ndarray]]"
"""Slices of chunks, none of which cuts a document that is embedded as a whole, to their vectors."""


class Batch:
    """Sources that wait to be embedded and written.

    Args:
        index: Open for writing.
        embedder: Makes the vectors.
        on_progress: Called with the number of chunks that were embedded since the last commit.
        vectors: Makes them instead of the embedder, elsewhere.

    Attributes:
        on_progress: See above.
        embedding_seconds: Spent in the embedder so far.
        writing_seconds: Spent in commits so far.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        on_progress: Callable[[int], None] = lambda chunks: None,
        vectors: Vectors | None = None,
    ) -> None:
        self._index, self._embedder, self.on_progress = index, embedder, on_progress
        self._vectors = vectors or self._here
        self._waiting: list[_Waiting] = []
        self._new = self._held = 0
        self._embedded: dict[bytes, np.ndarray] = {}
        self.embedding_seconds = self.writing_seconds = 0.0

    def add(
        self,
        uri: str,
        chunks: Sequence[Chunk],
        digest: str = "",
        size: int = 0,
        mtime_ns: int = 0,
    ) -> None:
        """Take a source, which is to consist of these chunks; see `SourceUpdate`."""
        plan = self._index.plan(uri, chunks)
        self._waiting.append(_Waiting(plan, chunks, digest, size, mtime_ns))
        self._new += len(plan.new)
        self._held += len(chunks)

    @property
    def new(self) -> int:
        """The number of chunks that are to be embedded."""
        return self._new

    @property
    def full(self) -> bool:
        """Whether it should be committed now."""
        return self._new >= WINDOW or self._held >= HELD

    def commit(self) -> WriteReport:
        """Embed what is new and write all of it.

        A source that another process has changed meanwhile is planned and written again: the
        last one that is written whole stays.

        Raises:
            IndexStateError: The index cannot be written, or others change a source all the time.
        """
        report = WriteReport(0, 0, 0)
        for _ in range(TRIES):
            if not self._waiting:
                break
            wrote = self._write()
            report += replace(wrote, changed=())
            again = set(wrote.changed)
            self._waiting = [
                replace(one, plan=self._index.plan(one.plan.uri, one.chunks))
                for one in self._waiting
                if one.plan.uri in again
            ]
        busy = [one.plan.uri for one in self._waiting]
        self._waiting, self._new, self._held = [], 0, 0
        if busy:
            raise IndexStateError(
                f"other processes write to {busy[0]} all the time",
                where=str(self._index.address),
                fix="wait until they are done, and ingest again",
            )
        return report

    def _write(self) -> WriteReport:
        vectors = self._embed([chunk for one in self._waiting for chunk in one.plan.chunks])
        updates: list[SourceUpdate] = []
        start = 0
        for one in self._waiting:
            end = start + len(one.plan.new)
            updates.append(
                SourceUpdate(one.plan, vectors[start:end], one.digest, one.size, one.mtime_ns)
            )
            start = end
        started = perf_counter()
        report = self._index.write(updates)
        self.writing_seconds += perf_counter() - started
        return report

    def _embed(self, chunks: list[Chunk]) -> np.ndarray:
        """Vectors of chunks: of equal ones once, like lengths together, which pads least."""
        import numpy as np

        vectors = np.zeros((len(chunks), self._embedder.dim), dtype=np.float32)
        late = [at for at, chunk in enumerate(chunks) if chunk.within]
        equal: dict[bytes, list[int]] = defaultdict(list)
        for at, chunk in enumerate(chunks):
            if not chunk.within:
                equal[_key(chunk)].append(at)
        done = 0
        self._recall({key: chunks[places[0]] for key, places in equal.items()})
        for key in equal.keys() & self._embedded.keys():
            places = equal.pop(key)
            vectors[places] = self._embedded[key]
            done += len(places)
        alone = [places[0] for places in equal.values()]
        alone.sort(key=lambda at: -len(chunks[at].indexed_text))
        parts = [list(group) for _, group in groupby(late, lambda at: document_of(chunks[at]))]
        parts += [alone[begin : begin + SLICE] for begin in range(0, len(alone), SLICE)]
        started = perf_counter()
        found = self._vectors([[chunks[at] for at in part] for part in parts])
        for part, computed in zip(parts, found, strict=True):
            vectors[part] = computed
            done += len(part)
            self.on_progress(done)
        for key, places in equal.items():
            vectors[places] = vectors[places[0]]
            self._embedded[key] = vectors[places[0]].copy()
        for key in list(self._embedded)[:-EQUAL]:
            del self._embedded[key]
        self.embedding_seconds += perf_counter() - started
        return vectors

    def _recall(self, chunks: Mapping[bytes, Chunk]) -> None:
        """Look up, by key, the vectors that the index has of equal texts."""
        unknown = [(key, one) for key, one in chunks.items() if key not in self._embedded]
        for begin in range(0, len(unknown), WINDOW):
            some = unknown[begin : begin + WINDOW]
            for at, vector in self._index.vectors_of_equal([one for _, one in some]).items():
                # A damaged one must not spread: its copy would have a checksum of its own.
                if abs(float(vector @ vector) - 1) < ROUNDING:
                    self._embedded[some[at][0]] = vector.copy()

    def _here(self, slices: Sequence[Sequence[Chunk]]) -> Iterator[np.ndarray]:
        return (embed_chunks(self._embedder, some, self._index.tokens) for some in slices)


@dataclass(frozen=True)
class _Waiting:
    """A source that waits: its plan, all of its chunks, and what `SourceUpdate` says of it."""

    plan: SourcePlan
    chunks: Sequence[Chunk]
    digest: str
    size: int
    mtime_ns: int


def _key(chunk: Chunk) -> bytes:
    return hashlib.sha256(chunk.indexed_text.encode("utf-8", "backslashreplace")).digest()
