"""Comparing the chunks of a source with those stored: what a write has to change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rag.index.types import NewChunk, SourcePlan
from rag.text.chunk import Chunk
from rag.text.surrogates import escape_surrogates


def make_plan(uri: str, stored: Mapping[str, str], chunks: Sequence[Chunk]) -> SourcePlan:
    """What has to change so that a source consists of some chunks.

    A chunk's id is a digest of its source, of its content and of what is indexed of it: under a
    new heading it needs a new vector, and so it does within a changed document that its vector is
    pooled from. Equal chunks of a source are numbered.

    Args:
        uri: The source.
        stored: Id to metadata (JSON) of the chunks that it has.
        chunks: All that it is to have, in order.
    """
    seen: Counter[str] = Counter()
    kept: list[str] = []
    new: list[NewChunk] = []
    renewed: list[tuple[str, str]] = []
    for chunk in chunks:
        text, indexed = escape_surrogates(chunk.text), escape_surrogates(chunk.indexed_text)
        within = [chunk.within] if chunk.within else []
        both = digest(text, indexed, *within)
        key = digest(uri, both, str(seen[both]))
        seen[both] += 1
        metadata = _dump(chunk.metadata)
        if key not in stored:
            new.append(NewChunk(key, metadata, text, indexed))
            continue
        kept.append(key)
        if stored[key] != metadata:
            renewed.append((key, metadata))
    staying = set(kept)
    gone = [key for key in stored if key not in staying]
    return SourcePlan(uri, new, renewed, kept, gone, basis_of(stored))


def basis_of(stored: Mapping[str, str]) -> str:
    """Changes when the chunks of a source do.

    Args:
        stored: Id to metadata (JSON).
    """
    return digest(*(part for pair in sorted(stored.items()) for part in pair))


def digest(*parts: str) -> str:
    """A digest of texts, 128 bits in hexadecimal."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


_ENCODER = json.JSONEncoder(default=str, allow_nan=False)


def _dump(metadata: Mapping[str, Any]) -> str:
    # The source has a column of its own, and a score is of a search and not of a chunk.
    values = {key: value for key, value in metadata.items() if key not in ("source", "score")}
    try:
        return _ENCODER.encode(values)
    except ValueError:
        # SQLite's JSON has no NaN and no infinity: they become null.
        finite = json.loads(json.dumps(values, default=str), parse_constant=lambda _: None)
        return json.dumps(finite)
