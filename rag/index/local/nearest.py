"""The vectors nearest to a query: one by one, or by inverted lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.index.local.lists import EXACT
from rag.index.local.vectors import ranked, search

if TYPE_CHECKING:
    import numpy as np

    from rag.index.local.snapshot import Selection, Snapshot


def nearest(
    snapshot: Snapshot, query: np.ndarray, k: int, chosen: Selection
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of the chosen vectors by inner product.

    Exact without lists; with them, as near to it as `ListsEffort.recall` says.

    Args:
        snapshot: The vectors.
        query: float32 [dim], unit length.
        k: How many, at least 1.
        chosen: Those that are searched.

    Returns:
        Positions int64 [m] and scores float32 [m], m <= k, by falling score, equal scores by
        rising position.
    """
    import numpy as np

    matrix, lists = snapshot.matrix, snapshot.lists
    effort = None
    if lists is not None and not (chosen.filtered and chosen.count <= EXACT):
        effort = lists.effort(k, chosen.count, len(matrix))
    if lists is None or effort is None:
        return search(matrix, query, k, chosen.bits, chosen.count)
    listed = lists.about.vectors
    found = lists.nearest(query, effort, chosen.bits, everywhere=chosen.filtered)
    # The bitmap is cut where the lists end, which is between two of its bytes.
    behind = int(chosen.mask[listed:].sum())
    tail, _ = search(matrix[listed:], query, k, chosen.bits[listed // 8 :], behind)
    return ranked(matrix, query, np.concatenate([found, tail + listed]), k)
