"""Late chunking: vectors of parts of a text, pooled from the token vectors of all of it.

Guenther et al. 2024, arXiv 2409.04701. A text longer than the model's window is read in windows
that overlap (section 3.1); a token's vector is of the first window that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from rag.models.local.encoder.text_encoder import TextEncoder

OVERLAP = 4
"""The part of a window that the one before it has read: one in so many tokens."""


def pools_spans(encoder: TextEncoder, id: str) -> None:  # noqa: A002
    """Make sure that an encoder pools tokens as late chunking does.

    Raises:
        ModelError: It pools in another way, by its first token for example.
    """
    if encoder.pooling != "mean":
        raise ModelError(
            f"the embedder {id!r} does not pool tokens by their mean, as late chunking does",
            where="late_chunking",
            fix="use an embedder that does, or leave out `late_chunking`",
        )


def span_vectors(encoder: TextEncoder, text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """The unit vectors of parts of a text: float32 [spans, dim]; zeros for one without tokens.

    A token that two parts share counts in both, and one that a border cuts in the part that
    it begins in.

    Args:
        encoder: Pools by the mean.
        text: Of any length.
        spans: First character and end of each part, at least one.
    """
    import numpy as np

    prompt = encoder.document_prompt
    starts, tokens = _tokens(encoder, prompt + text)
    sums = np.concatenate([np.zeros((1, tokens.shape[1])), np.cumsum(tokens, 0, np.float64)])
    borders = np.array(spans) + len(prompt)
    first, end = np.searchsorted(starts, borders[:, 0]), np.searchsorted(starts, borders[:, 1])
    counts = np.maximum(end - first, 1)[:, None]
    found = encoder.finished(((sums[end] - sums[first]) / counts).astype(np.float32))
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return np.where(end[:, None] > first[:, None], found, 0).astype(np.float32)


def _tokens(encoder: TextEncoder, text: str) -> tuple[np.ndarray, np.ndarray]:
    """First characters of all tokens, int64 [tokens], and vectors, float32 [tokens, dim]."""
    import numpy as np

    overlap = encoder.window // OVERLAP
    windows = encoder.windows(text, overlap)
    new = [slice(overlap if number else 0, None) for number in range(len(windows))]
    starts = [one.starts[part] for one, part in zip(windows, new, strict=True)]
    vectors = [one.vectors[part] for one, part in zip(windows, new, strict=True)]
    return np.concatenate(starts), np.concatenate(vectors)
