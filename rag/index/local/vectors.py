"""The vectors: one append-only file of float32, searched in place.

FAISS scans the memory-mapped file itself. Nothing is copied or built at open, several processes
share the one page cache, and new vectors are there with the commit that names them. A scan costs
time in proportion to the file: about 10 ms for 100,000 vectors of 384 dimensions, and exact.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.files import sync_folder

if TYPE_CHECKING:
    import numpy as np

# FAISS and the exact scores below round differently by no more than this.
ROUNDING = 1e-5


def vector_file(folder: Path, generation: int) -> Path:
    """The file of a generation."""
    return folder / f"vectors-{generation}.f32"


def append(path: Path, count: int, vectors: np.ndarray) -> None:
    """Write vectors after the first `count` and wait until they are on the disk.

    Args:
        path: The file; made if missing and `count` is 0.
        count: Vectors that are committed; what follows them was never committed and is cut off.
        vectors: float32 [n, dim].

    Raises:
        IndexStateError: The file is shorter than what was committed.
    """
    with path.open("r+b" if path.exists() else "x+b") as file:
        _check_size(path, os.fstat(file.fileno()).st_size, count, vectors.shape[1])
        file.truncate(count * vectors.shape[1] * 4)
        file.seek(0, os.SEEK_END)
        file.write(vectors.tobytes())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def map_file(path: Path, count: int, dim: int) -> np.ndarray:
    """The committed vectors, float32 [count, dim], read only and not copied.

    Raises:
        IndexStateError: The file is missing or shorter than what was committed.
    """
    import numpy as np

    if count == 0:
        return np.empty((0, dim), dtype=np.float32)
    _check_size(path, path.stat().st_size if path.exists() else 0, count, dim)
    return np.asarray(np.memmap(path, dtype=np.float32, mode="r", shape=(count, dim)))


def unit(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The vectors as float32 [n, dim] of length 1; a zero vector stays zero.

    Raises:
        ValueError: They have another shape, or hold values that are not finite.
    """
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    if array.size == 0:
        array = array.reshape(0, dim)
    if array.ndim != 2 or array.shape[1] != dim:
        raise ValueError(f"vectors of shape {array.shape} do not fit [n, {dim}]")
    if not np.isfinite(array).all():
        raise ValueError("vectors hold values that are not finite")
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    return np.ascontiguousarray(array / np.where(norms == 0, 1, norms), dtype=np.float32)


def search(
    matrix: np.ndarray, query: np.ndarray, k: int, bits: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors by inner product.

    Args:
        matrix: float32 [n, dim], contiguous.
        query: float32 [dim].
        k: How many, at least 1.
        bits: The positions that are searched: uint8 [n / 8], the first in the lowest bit.
        count: How many these are.

    Returns:
        Positions int64 [m] and scores float32 [m], m = min(k, count), by falling
        score, equal scores by rising position.
    """
    import faiss
    import numpy as np

    # A few more than k, to correct rounding and ties at the border.
    limit = k + 16
    while count:
        limit = min(limit, count)
        distances = np.empty((1, limit), dtype=np.float32)
        labels = np.empty((1, limit), dtype=np.int64)
        faiss.knn_inner_product(
            faiss.swig_ptr(query),
            faiss.swig_ptr(matrix),
            matrix.shape[1],
            1,
            len(matrix),
            limit,
            faiss.swig_ptr(distances),
            faiss.swig_ptr(labels),
            faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)),
        )
        positions, scores = ranked(matrix, query, labels[0], k)
        if limit == count or scores[-1] > distances[0, -1] + ROUNDING:
            return positions, scores
        limit *= 4
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)


def ranked(
    matrix: np.ndarray, query: np.ndarray, positions: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k of some positions, int64 [n], by exact scores: as `search`."""
    import numpy as np

    # Rounding in FAISS depends on the position; these sums depend on the vector alone.
    products = matrix[positions].astype(np.float64) * query
    scores = products.sum(axis=1).astype(np.float32)
    order = np.lexsort((positions, -scores))[:k]
    return positions[order], scores[order]


def _check_size(path: Path, size: int, count: int, dim: int) -> None:
    if size < count * dim * 4:
        raise IndexStateError(
            f"{path.name} has {size} bytes where {count * dim * 4} were committed",
            where=str(path.parent),
            fix="run rag ingest PATH: it makes them again from the stored texts",
        )
