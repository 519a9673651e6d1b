"""What an index is stored in: the protocol, which a folder and servers implement.

A store keeps chunks by source, and a source is the unit of everything that is written: it is
replaced, or deleted, as a whole, and a search sees all of a source's chunks as they were before a
write or as they are after it. `rag.testing.StoreSuite` holds an implementation to all of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from rag.errors import IndexStateError, RagError
from rag.paths import cache_folder
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.index.types import (
        Aggregate,
        Candidates,
        Hit,
        IndexProblem,
        IndexStats,
        Source,
        SourceUpdate,
        WriteReport,
    )

Where: TypeAlias = Mapping[str, Any] | None
"""A metadata filter, as in `rag.index.filters`; None or empty: everything passes."""
Embed: TypeAlias = "Callable[[Sequence[Chunk]], np.ndarray]"
"""Chunks to vectors: float32 [chunks, dim]."""
Score: TypeAlias = "Callable[[Candidates], np.ndarray]"
"""Candidates to the scores that they are ordered by: float [n]."""

LOOKED_AT = 32
"""Chunks of equal text that are looked at for one with equal headings."""


class Store(Protocol):
    """An open index. Any number of threads may use it at once.

    URIs, ids and texts that it is given are valid Unicode; vectors are float32 of unit length and
    of its embedder; `k` is at least 1. Whatever goes wrong, with the disk, the server or the
    network, is an `IndexStateError`, and nothing is half written then.
    """

    @property
    def embedder(self) -> str:
        """Id of the embedder that makes its vectors."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def folder(self) -> Path:
        """Where this machine may store what is computed from the index: for this index alone."""

    def known(self, uris: Sequence[str]) -> dict[str, Source]:
        """What the index knows of sources, by URI; those that it does not hold are missing."""

    def sources(self) -> Iterator[Source]:
        """All sources, by URI."""

    def stored(self, uri: str) -> dict[str, str]:
        """Id to metadata (JSON, as it was written) of the chunks of a source."""

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """The vectors that the index has of equal texts, whichever source they are of.

        Args:
            chunks: None is embedded `within` a document.

        Returns:
            For places in `chunks` the vector, float32 [dim], of a stored chunk whose
            `indexed_text` is the same. Places may be missing though there is one: looking takes
            bounded work for each text.
        """

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """Carry out plans; each source's at once or not at all.

        A source whose chunks are not those that its plan was made from, since another writer was
        first, stays as it is and is reported as `changed`.

        Raises:
            IndexStateError: The index is open for reading, or cannot be written.
            ValueError: An update's vectors do not fit its plan.
        """

    def delete(self, uris: Sequence[str]) -> int:
        """Remove sources, unknown ones are ignored; returns the number of chunks removed."""

    def index_metadata(self, keys: Sequence[str]) -> None:
        """Make these the metadata keys whose values have an index, for filters.

        Nothing is done where they have it already. Filters on other keys give the same, slower.
        """

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """The chunks nearest to a vector, float32 [dim], by cosine; see `Index.dense`."""

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """The chunks that match the words of a query best; see `Index.sparse`."""

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """The best of what both find, of one state of the index; see `Index.hybrid`."""

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """The sources nearest to a vector; see `Index.dense_sources`."""

    def of_source(self, uri: str) -> list[Chunk]:
        """All chunks of a source, by `Chunk.position`, ties in the order of insertion."""

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """The chunks of these ids, in that order; unknown ids are passed over."""

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """All chunks in the order of insertion, in batches of `count`."""

    def version(self) -> str:
        """Changes with every write that changes what searches find."""

    def stats(self) -> IndexStats:
        """Counts and sizes."""

    def embed_again(self, embedder: str, dim: int, embed: Embed) -> None:
        """Replace all vectors at once or not at all; searches see the old ones until then.

        Args:
            embedder: Id of the embedder that makes the new ones.
            dim: Their length.
            embed: Called with all chunks, those within one document together.
        """

    def compact(self) -> None:
        """Reclaim the space of what was deleted."""

    def verify(self) -> list[IndexProblem]:
        """What is not as it was written, or does not fit together."""

    def rebuild(self) -> list[str]:
        """Make anew what can be; returns the sources that had to be forgotten."""

    def close(self) -> None:
        """Release what is held."""


class Address(Protocol):
    """Where an index is. As text it is what messages show: without a password."""

    @property
    def key(self) -> str:
        """The same for the same index, wherever it is opened from; without a password."""

    def absent(self) -> RagError | None:
        """Why it cannot be opened, as far as that is known without opening anything."""

    def exists(self) -> bool:
        """Whether there is an index.

        Raises:
            IndexStateError: The server cannot be reached.
        """

    def open(self) -> Store:
        """Open it for reading.

        Raises:
            IndexStateError: There is none, it is damaged or of another format, or the server
                cannot be reached.
        """

    def writer(self, embedder: str, dim: int, *, create: bool, embed: Embed | None) -> Store:
        """Open it for writing, and finish what an earlier writer left unfinished.

        Args:
            embedder: Id of the embedder whose vectors will be written.
            dim: Length of its vectors.
            create: Make an empty one where there is none.
            embed: Makes vectors that are lost again.

        Raises:
            IndexStateError: As `open`; or it was made with another embedder, or the store takes
                one writer at a time and another process is it.
        """

    def of_collection(self, name: str) -> Address:
        """The index of a collection beside this one: nothing of one is found in another.

        Args:
            name: Letters, digits, `_` and `-`.
        """


def derived_folder(key: str) -> Path:
    """The folder of this machine for what is computed from an index on a server.

    Args:
        key: See `Address.key`.
    """
    folder = cache_folder() / "indexes" / hashlib.sha256(key.encode()).hexdigest()[:32]
    with suppress(OSError):  # nothing is stored then
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def other_embedder(made: tuple[str, int], given: tuple[str, int], *, where: str) -> IndexStateError:
    """The error of a writer whose embedder is not the index's: both as id and dimensions."""
    return IndexStateError(
        f"the index was made with {made[0]} ({made[1]} dimensions), not with"
        f" {given[0]} ({given[1]} dimensions)",
        where=where,
        fix=f"use the embedder {made[0]}, or run rag index reembed",
    )


def embedded_again(embedder: str, *, where: str) -> IndexStateError:
    """The error of an open index whose vectors were replaced by those of another embedder."""
    return IndexStateError(
        f"the index was embedded again, with {embedder}",
        where=where,
        fix="open it again, with that embedder",
    )
