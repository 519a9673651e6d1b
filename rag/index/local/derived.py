"""What further models compute from an index's chunks: token vectors, sparse weights.

An SQLite file beside the index's own, or in the user's cache folder for an index on a server. It
is filled at first use and brought up to date by every later one. It holds nothing that cannot be
recomputed: a damaged file is, and in a folder that cannot be written nothing is stored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from rag.index.index import Index
from rag.index.local.derived_table import DerivedTable
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

BATCH = 128
"""Chunks that are computed together, and committed."""

T = TypeVar("T")


class Derived(Generic[T]):
    """One kind of data per chunk, stored on disk, and what is built of all of it, cached in memory.

    Args:
        kind: Identifies the data within the file: kind, model, its settings.
        compute: Chunks to their data.
        build: Data of all chunks, in the order of `Index.batches`, to what is searched.
    """

    def __init__(
        self,
        kind: str,
        compute: Callable[[Sequence[Chunk]], list[bytes]],
        build: Callable[[list[bytes]], T],
    ) -> None:
        self._kind, self._compute, self._build = kind, compute, build

    def of(self, index: Index) -> tuple[list[Chunk], T]:
        """The chunks and what was built of them, as of the index's last commit.

        Raises:
            IndexStateError: The file cannot be written.
        """
        with _lock:
            kept = _built.setdefault(index, {})
            version = index.version()
            if self._kind not in kept or kept[self._kind][0] != version:
                chunks = [chunk for batch in index.batches(1000) for chunk in batch]
                kept[self._kind] = (version, chunks, self._build(self._data(index, chunks)))
            _, chunks, built = kept[self._kind]
        return chunks, cast(T, built)

    def _data(self, index: Index, chunks: list[Chunk]) -> list[bytes]:
        with closing(DerivedTable(index.folder, self._kind)) as table:
            known = table.rows
            new = [chunk for chunk in chunks if chunk.id not in known]
            # Like lengths together: they pad least.
            new.sort(key=lambda chunk: -len(chunk.text))
            for start in range(0, len(new), BATCH):
                part = new[start : start + BATCH]
                rows = dict(zip([str(c.id) for c in part], self._compute(part), strict=True))
                known |= rows
                table.put(rows)
            ids = [str(chunk.id) for chunk in chunks]
            table.drop(known.keys() - set(ids))
        return [known[key] for key in ids]


_lock = threading.Lock()
_built: WeakKeyDictionary[Index, dict[str, tuple[str, list[Chunk], object]]] = WeakKeyDictionary()


def half(array: np.ndarray) -> bytes:
    """An array as 16-bit floats."""
    import numpy as np

    return bytes(np.ascontiguousarray(array, dtype=np.float16).tobytes())
