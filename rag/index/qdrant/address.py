"""The address of an index in Qdrant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError, RagError
from rag.extras import require
from rag.index.qdrant.location import Location

if TYPE_CHECKING:
    from rag.index.qdrant.store import QdrantStore
    from rag.index.store import Address, Embed


def address(text: str, base: Path) -> Address:
    """See `rag.index.address.Maker`."""
    return QdrantAddress.of(text, base)


class QdrantAddress(Location):
    """A collection of a server, or of a folder; see `rag.index.store.Address`."""

    def absent(self) -> RagError | None:
        """See `Address`: nothing is connected to."""
        try:
            require("qdrant_client", "qdrant", where=str(self))
        except ConfigError as error:
            return error
        return None

    def exists(self) -> bool:
        """See `Address`."""
        from rag.index.qdrant.client import Client

        client = Client(self)
        try:
            return client.exists()
        finally:
            client.close()

    def open(self) -> QdrantStore:
        """See `Address`."""
        from rag.index.qdrant.store import QdrantStore

        return QdrantStore.opened(self)

    def writer(self, embedder: str, dim: int, *, create: bool, embed: Embed | None) -> QdrantStore:
        """See `Address`; any number of processes may write, but for a folder one."""
        from rag.index.qdrant.store import QdrantStore

        return QdrantStore.opened(self, (embedder, dim), create=create)

    def of_collection(self, name: str) -> QdrantAddress:
        """See `Address`: a collection of its own."""
        return QdrantAddress(self.url, self.folder, f"{self.collection}.collections.{name}")
