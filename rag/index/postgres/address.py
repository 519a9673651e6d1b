"""The address of an index in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError, RagError
from rag.extras import require
from rag.index.postgres.location import Location

if TYPE_CHECKING:
    from rag.index.postgres.store import PostgresStore
    from rag.index.store import Address, Embed


def address(text: str, base: Path) -> Address:
    """See `rag.index.address.Maker`."""
    return PostgresAddress.of(text)


class PostgresAddress(Location):
    """A collection of a database; see `rag.index.store.Address`."""

    def absent(self) -> RagError | None:
        """See `Address`: nothing is connected to."""
        try:
            for module in ("psycopg", "pgvector"):
                require(module, "postgres", where=str(self))
        except ConfigError as error:
            return error
        return None

    def exists(self) -> bool:
        """See `Address`."""
        from rag.index.postgres.database import Database

        database = Database(self)
        try:
            return database.exists()
        finally:
            database.close()

    def open(self) -> PostgresStore:
        """See `Address`."""
        from rag.index.postgres.store import PostgresStore

        return PostgresStore.opened(self)

    def writer(
        self, embedder: str, dim: int, *, create: bool, embed: Embed | None
    ) -> PostgresStore:
        """See `Address`; any number of processes may write."""
        from rag.index.postgres.store import PostgresStore

        return PostgresStore.opened(self, (embedder, dim), create=create)

    def of_collection(self, name: str) -> PostgresAddress:
        """See `Address`: a collection of its own."""
        return PostgresAddress(self.url, f"{self.collection}.collections.{name}")
