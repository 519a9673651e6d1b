"""The address of an index in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError, RagError
from rag.index.local.database import FILE, Database, check

if TYPE_CHECKING:
    from rag.index.local.store import LocalStore
    from rag.index.store import Embed


@dataclass(frozen=True)
class FolderAddress:
    """A folder of this machine; see `rag.index.store.Address`."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def key(self) -> str:
        """See `Address`."""
        return str(self.path.resolve())

    def absent(self) -> RagError | None:
        """See `Address`."""
        if self.exists():
            return None
        return IndexStateError("there is no index here", where=str(self), fix="rag ingest PATH")

    def exists(self) -> bool:
        """See `Address`; one that a writer is just making is not there yet."""
        if not (self.path / FILE).is_file():
            return False
        database = Database(self.path, write=False)
        try:
            with database.connection() as connection:
                return check(connection, self.path)
        except IndexStateError:
            return True  # whoever opens it learns what is wrong
        finally:
            database.close()

    def open(self) -> LocalStore:
        """See `Address`; the folder need not be writable."""
        from rag.index.local.store import LocalStore

        return LocalStore.reading(self.path)

    def writer(self, embedder: str, dim: int, *, create: bool, embed: Embed | None) -> LocalStore:
        """See `Address`; one process at a time may write."""
        from rag.index.local.store import LocalStore

        return LocalStore.writing(self.path, embedder, dim, create=create, embed=embed)

    def of_collection(self, name: str) -> FolderAddress:
        """See `Address`."""
        return FolderAddress(self.path.with_name(f"{self.path.name}.collections") / name)
