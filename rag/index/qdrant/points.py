"""Chunks as points: vectors, words as a sparse vector, and the payload."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rag.index.qdrant.client import DENSE, EQUAL, WORDS
from rag.index.qdrant.conditions import fields_of
from rag.index.source_plan import digest
from rag.index.words import K1, B, words_of
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

AVERAGE = 100
"""Words of a chunk that count as usual in BM25: Qdrant knows how rare a word is, not how long
chunks are on average."""

_SPACE = uuid.UUID("7b0a2c52-6d0f-4f0e-9c55-0f5a3f1d6f5e")


def point_id(*parts: str) -> str:
    """The id of what these texts name."""
    return str(uuid.uuid5(_SPACE, "\n".join(parts)))


def payload_of(
    key: str, uri: str, text: str, metadata: str, order: int, generation: str, number: int
) -> dict[str, Any]:
    """The payload of a chunk.

    Args:
        key: The chunk's id.
        uri: Its source.
        text: Its content.
        metadata: JSON.
        order: Rises in the order of insertion.
        generation: Of the write that made the point.
        number: Of that write among those of the source.
    """
    chunk = Chunk(text, json.loads(metadata))
    about = {
        "id": key, "source": uri, "text": text, "metadata": metadata, "order": order,
        EQUAL: "" if chunk.within else digest(chunk.indexed_text),
    }  # fmt: skip
    of_write = {"generation": generation, "number": number, "written": int(time.time())}
    return {**fields_of(metadata), **about, **of_write}


def chunk_of(payload: Mapping[str, Any]) -> Chunk:
    """The chunk with a payload."""
    metadata = {**json.loads(payload["metadata"]), "source": payload["source"]}
    return Chunk(payload["text"], metadata, payload["id"])


def vectors_of(vector: np.ndarray, indexed: str) -> dict[str, Any]:
    """The vectors of a point: float32 [dim], and the weights of BM25 of what is indexed."""
    return {DENSE: vector.tolist(), **words_vector(indexed)}


def words_vector(indexed: str) -> dict[str, Any]:
    """The sparse vector of a text by its name; none where it has no words.

    A word's weight is BM25's without its rarity, which Qdrant multiplies by.
    """
    counts = Counter(words_of(indexed))
    norm = K1 * (1 - B + B * counts.total() / AVERAGE)
    found = _sparse({word: times * (K1 + 1) / (times + norm) for word, times in counts.items()})
    return {} if found is None else {WORDS: found}


def query_vector(query: str) -> Any:
    """The sparse vector of a query; None if it has no words."""
    return _sparse(Counter(words_of(query)))


def _sparse(weights: Mapping[str, float]) -> Any:
    from qdrant_client import models
    from xxhash import xxh32_intdigest

    found: dict[int, float] = {}
    for word, weight in weights.items():
        number = xxh32_intdigest(word.encode())
        found[number] = found.get(number, 0.0) + weight
    if not found:
        return None
    return models.SparseVector(indices=list(found), values=list(found.values()))
