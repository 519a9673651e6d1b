"""What goes into an index and what it says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.documents import Document

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Source:
    """A document as the index knows it.

    Attributes:
        uri: Where it came from; unique in the index.
        digest: Hash of its bytes as the ingest computed it; "" if it was never a file.
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch.
        chunks: Chunks of it in the index.
    """

    uri: str
    digest: str
    size: int
    mtime_ns: int
    chunks: int


@dataclass(frozen=True)
class SourceUpdate:
    """Everything a source consists of now; what else the index holds of it goes.

    Attributes:
        uri: The source.
        digest: Hash of its bytes.
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch.
        chunks: All of its chunks, in order.
        vectors: float32 [len(missing), dim], for the chunks at `Index.missing(uri, chunks)`.
    """

    uri: str
    digest: str
    size: int
    mtime_ns: int
    chunks: Sequence[Document]
    vectors: np.ndarray


@dataclass(frozen=True)
class WriteReport:
    """Chunks that a write added, kept as they were (but for metadata), and removed."""

    added: int
    kept: int
    removed: int


@dataclass(frozen=True)
class IndexStats:
    """What an index holds.

    Attributes:
        path: Its folder.
        sources: Number of sources.
        chunks: Number of chunks that can be found.
        tombstones: Deleted chunks whose vectors still take room; `Index.compact` frees them.
        bytes: Bytes on disk by part: "sqlite", "vectors", "bm25".
        embedder: Id of the embedder that made the vectors.
        dim: Length of a vector.
        vectors: Kind of vector index.
    """

    path: Path
    sources: int
    chunks: int
    tombstones: int
    bytes: dict[str, int]
    embedder: str
    dim: int
    vectors: str


@dataclass(frozen=True)
class Candidates:
    """What two searches found together, with what either knows of all of it.

    Attributes:
        dense: Cosines with the query: float32 [n].
        sparse: BM25 scores, 0 where no word is shared: float32 [n].
        vectors: float32 [n, dim], unit length.
    """

    dense: np.ndarray
    sparse: np.ndarray
    vectors: np.ndarray
