"""The client of one index: opened, its collections made, its errors translated."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import IndexStateError, RagError
from rag.extras import require
from rag.index.store import embedded_again, other_embedder

if TYPE_CHECKING:
    from rag.index.qdrant.location import Location

FORMAT = 2
OLDEST = (1, 16)
"""The first version of the server that changes points conditionally."""
TIMEOUT = 30
"""Seconds that a call may take."""
BLOCK = 1_000
"""Points that are fetched together."""
KEY = "QDRANT_API_KEY"
DENSE, WORDS = "dense", "words"
"""The names of a point's vectors."""
EQUAL = "equal"
"""The field of a point's payload that is the same for equal indexed texts."""
MARK = "2f1c7a0e-54f4-5d0a-9a43-3c1f0d8e6b52"
"""The point of the sources that says where the index went, when it was embedded again."""


@dataclass
class _Folder:
    """A folder that this process has open: others in it share the client, one call at a time."""

    client: Any
    users: int = 1
    lock: Any = field(default_factory=threading.RLock)


_folders: dict[Path, _Folder] = {}
_opening = threading.Lock()


class Client:
    """Calls of Qdrant for one index; any number of threads may make them.

    Attributes:
        location: Where the index is, as it was named.
        current: The collections that hold it: others, once it was embedded again.

    Raises:
        ConfigError: The library is not installed.
        IndexStateError: The folder is open in another process.
    """

    def __init__(self, location: Location) -> None:
        self.location = self.current = location
        qdrant = require("qdrant_client", "qdrant", where=str(location))
        self._shared: _Folder | None = None
        with self._errors():
            if location.folder is None:
                key = os.environ.get(KEY)
                self._client = qdrant.QdrantClient(
                    url=location.url, api_key=key, timeout=TIMEOUT, check_compatibility=False
                )
                self._check_version(self._client.info().version)
            else:
                self._shared = _shared(location.folder.resolve(), qdrant)
                self._client = self._shared.client

    def _check_version(self, version: str) -> None:
        parts = tuple(int(part) for part in version.split(".")[:2])
        if parts < OLDEST:
            self._client.close()
            oldest = ".".join(map(str, OLDEST))
            raise IndexStateError(
                f"the server is Qdrant {version}, which cannot change a point conditionally",
                where=str(self.location),
                fix=f"run Qdrant {oldest} or later",
            )

    def __call__(self, method: str, *, collection: str = "", **arguments: Any) -> Any:
        """The result of a method of `qdrant_client.QdrantClient`.

        Args:
            method: Its name.
            collection: Default: that of the chunks.
            **arguments: Its further ones.

        Raises:
            IndexStateError: The server cannot be reached, or refuses.
        """
        arguments["collection_name"] = collection or self.current.collection
        try:
            return self._call(method, arguments)
        except IndexStateError as error:
            if not _is_gone(error):
                raise
            mark = self.mark()
            if mark.get("next"):
                raise embedded_again(mark["embedder"], where=str(self.location)) from error
            raise

    def _call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        with self._errors():
            if self._shared is None:
                return getattr(self._client, method)(**arguments)
            with self._shared.lock:
                return getattr(self._client, method)(**arguments)

    def mark(self) -> dict[str, Any]:
        """What the point `MARK` says; nothing, if it was never made."""
        try:
            found = self._call("retrieve", {"collection_name": self.current.sources, "ids": [MARK]})
        except IndexStateError as error:
            if _is_gone(error):
                return {}
            raise
        return dict(found[0].payload) if found else {}

    def collections(self) -> list[str]:
        """The names of all collections of the server."""
        return [one.name for one in self._call("get_collections", {}).collections]

    def of(self, collection: str) -> Client:
        """A client, open as long as this one, of other collections of the index."""
        other = copy.copy(self)
        other.current = replace(self.location, collection=collection)
        return other

    def scroll(self, *, collection: str = "", **arguments: Any) -> Iterator[Any]:
        """All points that pass a filter."""
        offset = None
        while True:
            points, offset = self(
                "scroll", collection=collection, limit=BLOCK, offset=offset, **arguments
            )
            yield from points
            if offset is None:
                return

    def exists(self) -> bool:
        """Whether there is an index: the collection of its sources is made last."""
        return bool(self("collection_exists", collection=self.current.sources))

    def check(self, wanted: tuple[str, int] | None = None) -> tuple[str, int]:
        """The index's embedder and dimensions; finds the collections that hold it.

        Raises:
            IndexStateError: There is no index, it is of another format, or of another embedder
                than a writer's.
        """
        if not self.exists():
            raise IndexStateError(
                "there is no index here", where=str(self.location), fix="rag ingest PATH"
            )
        found = self("get_collection", collection=self.location.sources).config.metadata or {}
        if found.get("format") != FORMAT:
            raise IndexStateError(
                f"the index has format {found.get('format')}; this version of rag reads format"
                f" {FORMAT}",
                where=str(self.location),
                fix="name another collection and ingest into it, or use the version of rag that"
                " made it",
            )
        made = (str(found["embedder"]), int(found["dim"]))
        while (mark := self.mark()).get("next"):
            self.current = replace(self.location, collection=mark["next"])
            made = (str(mark["embedder"]), int(mark["dim"]))
        if wanted is not None and made != wanted:
            raise other_embedder(made, wanted, where=str(self.location))
        return made

    def create(self, embedder: str, dim: int) -> None:
        """Make the collections, unless they are there."""
        from qdrant_client import models

        if self.exists():
            return
        vectors = {DENSE: models.VectorParams(size=dim, distance=models.Distance.DOT)}
        words = {WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)}
        known = {"format": FORMAT, "embedder": embedder, "dim": dim}
        try:
            if not self("collection_exists"):
                self("create_collection", vectors_config=vectors, sparse_vectors_config=words)
            for name in ("id", "source", "generation", EQUAL):
                self.index_field(name)
            self(
                "create_collection",
                collection=self.current.sources, vectors_config={}, metadata=known,
            )  # fmt: skip
        except IndexStateError:
            if not self.exists():  # another process was first
                raise

    def index_field(self, name: str, kind: str = "keyword") -> None:
        """Let a field of the payload have an index; nothing is done where it has one."""
        if self._shared is None:  # a folder has none
            self("create_payload_index", field_name=name, field_schema=kind)

    def close(self) -> None:
        """Close the client, or, of a folder, with its last user."""
        with _opening:
            if self._shared is None:
                self._client.close()
            else:
                self._shared.users -= 1
                if not self._shared.users:
                    self._shared.client.close()
                    _folders.pop(self._folder, None)

    @property
    def _folder(self) -> Path:
        return (self.location.folder or Path()).resolve()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RagError:
            raise
        except Exception as error:  # the client raises its own, httpx's and ValueError
            reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
            raise IndexStateError(
                f"Qdrant cannot be reached, or refuses: {reason}",
                where=str(self.location),
                fix="see that the server is there and QDRANT_API_KEY is right, or, of a folder,"
                " that no other process has it open",
            ) from error


def _is_gone(error: IndexStateError) -> bool:
    """Whether a collection is not there."""
    what = error.what.lower()
    return "not found" in what or "doesn't exist" in what


def _shared(folder: Path, qdrant: Any) -> _Folder:
    with _opening:
        if folder in _folders:
            _folders[folder].users += 1
        else:
            _folders[folder] = _Folder(qdrant.QdrantClient(path=str(folder)))
        return _folders[folder]
