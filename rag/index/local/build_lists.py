"""Building inverted lists, and measuring what a search over them finds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import IndexStateError
from rag.files import sync
from rag.index.local.lists import FROM, TAIL, Lists, ListsFile, open_lists, scan
from rag.index.types import ListsEffort

if TYPE_CHECKING:
    import numpy as np

TARGETS = {10: 0.98, 100: 0.9}
"""k to the recall that is enough. What follows the first 10 is read as candidates at most."""
GROWTH = 2
"""Centroids are trained again for so many times the vectors that they were trained on."""
SAMPLED = 64
"""Vectors for each centroid that it is trained on."""
QUERIES = 128
"""Queries of the measurement."""
RERANKED = (4, 8, 16, 32)
"""Vectors that are scored again for each of k: what is tried."""
ADDED = 65_536
"""Vectors that are added at a time."""


def wanted(total: int, known: ListsFile | None) -> bool:
    """Whether lists are to be built.

    Args:
        total: Vectors of the index.
        known: Its lists.
    """
    return total >= FROM and (known is None or total - known.vectors > TAIL)


def build(folder: Path, matrix: np.ndarray, known: ListsFile | None, made: ListsFile) -> ListsFile:
    """Write the lists of all vectors but the last few to a file of their own.

    Args:
        folder: Of the index.
        matrix: float32 [n, dim].
        known: The lists that there are, if they can be trusted: their centroids are taken over
            until there are `GROWTH` times the vectors.
        made: Seq and generation of the lists.

    Returns:
        What SQLite is to say of them.

    Raises:
        OSError, RuntimeError: The file cannot be written; what is left of it is never read.
    """
    import faiss

    count = len(matrix) // 8 * 8
    if known is not None and count < GROWTH * known.trained:
        index, trained = open_lists(folder / known.name, mapped=False), known.trained
    else:
        index, trained = _trained(matrix[:count]), count
    for start in range(index.ntotal, count, ADDED):
        index.add(matrix[start : min(start + ADDED, count)])
    path = folder / made.name
    path.unlink(missing_ok=True)
    faiss.write_index(index, str(path))
    path.chmod((folder / "index.sqlite").stat().st_mode & 0o777)
    sync(path)
    efforts = measured(index, matrix[:count])
    made = replace(made, vectors=count, trained=trained, efforts=efforts)
    return replace(made, checksum=made.checksum_with(path))


def trusted(folder: Path, known: ListsFile | None) -> ListsFile | None:
    """The lists, if their file is what was written."""
    if known is None:
        return None
    try:
        Lists(folder, known).check()
    except IndexStateError:
        return None
    return known


def _trained(matrix: np.ndarray) -> Any:
    import faiss
    import numpy as np

    count, dim = matrix.shape
    lists = math.isqrt(count)
    index: Any = faiss.index_factory(dim, f"IVF{lists},RaBitQ", faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = SAMPLED
    draw = np.random.default_rng(0)
    some = draw.choice(count, min(count, SAMPLED * lists), replace=False)
    index.train(matrix[np.sort(some)])
    return index


def measured(index: Any, matrix: np.ndarray) -> tuple[ListsEffort, ...]:
    """The least effort that finds enough, for each k of `TARGETS`; none if none does.

    Args:
        index: The lists, in memory.
        matrix: Their vectors, float32 [n, dim].
    """
    import faiss
    import numpy as np

    draw = np.random.default_rng(1)
    pairs = draw.choice(len(matrix), (QUERIES, 2))
    queries = matrix[pairs[:, 0]] + matrix[pairs[:, 1]]
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    most = max(TARGETS)
    nearest = faiss.knn(queries, matrix, most + 2, metric=faiss.METRIC_INNER_PRODUCT)[1]
    right = [
        [at for at in found if at >= 0 and at not in pair]
        for found, pair in zip(nearest.tolist(), pairs.tolist(), strict=True)
    ]
    efforts = []
    for k, target in TARGETS.items():
        best = _least(index, matrix, queries, [one[:k] for one in right], k, target)
        if best is None:
            return ()
        efforts.append(best)
    return tuple(efforts)


def _least(
    index: Any,
    matrix: np.ndarray,
    queries: np.ndarray,
    right: list[list[int]],
    k: int,
    target: float,
) -> ListsEffort | None:
    probed = 8
    while True:
        probed = min(probed, index.nlist)
        found = index.search(queries, RERANKED[-1] * k, params=scan(probed))[1]
        for times in RERANKED:
            # A right one among the candidates is always among the first k by exact score.
            hits = sum(
                len({*one[: times * k].tolist()}.intersection(ids))
                for one, ids in zip(found, right, strict=True)
            )
            recall = hits / sum(map(len, right))
            if recall >= target:
                return ListsEffort(k, probed, times * k, recall)
        if probed == index.nlist:
            return None
        probed *= 2
