"""Sources that are embedded and committed together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING

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


class Batch:
    """Plans of sources that wait for their vectors.

    Args:
        index: Open for writing.
        embedder: Makes the vectors.
        on_progress: Called with the number of chunks that were embedded since the last commit.

    Attributes:
        embedding_seconds: Spent in the embedder so far.
        writing_seconds: Spent in commits so far.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        on_progress: Callable[[int], None] = lambda chunks: None,
    ) -> None:
        self._index, self._embedder, self._on_progress = index, embedder, on_progress
        self._waiting: list[tuple[SourcePlan, str, int, int]] = []
        self._new = self._held = 0
        self.embedding_seconds = self.writing_seconds = 0.0

    def add(self, plan: SourcePlan, digest: str = "", size: int = 0, mtime_ns: int = 0) -> None:
        """Take a source; see `SourceUpdate`."""
        self._waiting.append((plan, digest, size, mtime_ns))
        self._new += len(plan.new)
        self._held += len(plan.new) + plan.kept

    @property
    def full(self) -> bool:
        """Whether it should be committed now."""
        return self._new >= WINDOW or self._held >= HELD

    def commit(self) -> WriteReport:
        """Embed what is new and write all of it, in one commit of the index."""
        vectors = self._embed([chunk for plan, *_ in self._waiting for chunk in plan.chunks])
        updates: list[SourceUpdate] = []
        start = 0
        for plan, digest, size, mtime_ns in self._waiting:
            end = start + len(plan.new)
            updates.append(SourceUpdate(plan, vectors[start:end], digest, size, mtime_ns))
            start = end
        started = perf_counter()
        report = self._index.write(updates) if updates else WriteReport(0, 0, 0)
        self.writing_seconds += perf_counter() - started
        self._waiting, self._new, self._held = [], 0, 0
        return report

    def _embed(self, chunks: list[Chunk]) -> np.ndarray:
        """Vectors of chunks, like lengths together, which pads least."""
        import numpy as np

        vectors = np.zeros((len(chunks), self._embedder.dim), dtype=np.float32)
        late = [at for at, chunk in enumerate(chunks) if chunk.within]
        alone = [at for at, chunk in enumerate(chunks) if not chunk.within]
        alone.sort(key=lambda at: -len(chunks[at].indexed_text))
        parts = [list(group) for _, group in groupby(late, lambda at: document_of(chunks[at]))]
        parts += [alone[begin : begin + SLICE] for begin in range(0, len(alone), SLICE)]
        started = perf_counter()
        done = 0
        for part in parts:
            vectors[part] = embed_chunks(self._embedder, [chunks[at] for at in part])
            done += len(part)
            self._on_progress(done)
        self.embedding_seconds += perf_counter() - started
        return vectors
