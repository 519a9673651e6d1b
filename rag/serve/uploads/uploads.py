"""Uploads: files that were accepted and what became of them, durable from the first moment."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from rag.files import sync
from rag.index.binding import plain
from rag.index.store import Address
from rag.serve.errors import Problem
from rag.serve.state.database import Database, Row, like
from rag.serve.state.server_state import ServerState
from rag.serve.uploads.inspection import refusal

UPLOADS_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id TEXT NOT NULL, owner TEXT NOT NULL, collection TEXT NOT NULL, pipeline TEXT NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL, bytes BIGINT NOT NULL, status TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '', chunks BIGINT NOT NULL DEFAULT 0,
    progress DOUBLE PRECISION NOT NULL DEFAULT 0, created DOUBLE PRECISION NOT NULL,
    claim TEXT, until DOUBLE PRECISION, deaths INTEGER NOT NULL DEFAULT 0,
    begun BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, id)
);
CREATE INDEX IF NOT EXISTS documents_by_status ON documents (status, created)
"""
NAME_BYTES = 120
"""UTF-8 bytes of a file's name at most."""
LISTED = 1000
"""Uploads in a list at most."""
_SHOWN = (
    "SELECT id, name, collection, bytes, status, detail, chunks, progress, created FROM documents "
)
_UNSAFE = re.compile(r"[^\w.\- ()]+")

Status = Literal["queued", "ingesting", "ready", "failed", "deleting"]


class Upload(BaseModel):
    """An uploaded document."""

    id: str
    name: str
    collection: str = Field(description="the one whose index has it")
    bytes: int
    status: Status
    detail: str = Field(description="of one that failed: why")
    chunks: int = Field(description="chunks of it in the index")
    progress: float = Field(description="share that is ingested, 0 to 1")
    created: float = Field(description="seconds since the epoch")


@dataclass(frozen=True)
class StoredUpload:
    """An upload as those need it who read its file."""

    id: str
    user: str
    collection: str
    pipeline: str
    path: Path
    bytes: int
    status: Status

    @classmethod
    def of(cls, row: Row) -> StoredUpload:
        """The upload of a row of the table."""
        fields = {name: row[name] for name in cls.__dataclass_fields__ if name != "user"}
        return cls(**{**fields, "user": row["owner"], "path": Path(row["path"])})


class Uploads:
    """The uploads of a server. What `keep` has accepted survives a crash or a shutdown.

    An upload is known by its name: another file of the same name replaces it.

    Args:
        state: Keeps the table.
        data: The server's folder; the files are in `files` there.
        address: The index that a pipeline (its name) has for a collection.
        max_bytes: Of a file.
        max_documents: Of a user.
        max_user_bytes: Of all files of a user.
        kept: Called when there is something to ingest.
    """

    def __init__(
        self,
        state: ServerState,
        data: Path,
        *,
        address: Callable[[str, str], Address],
        max_bytes: int,
        max_documents: int,
        max_user_bytes: int,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        self._state, self._address = state, address
        self.files = (data / "files").absolute()
        """The folder of the files."""
        self._max_bytes, self._max_documents = max_bytes, max_documents
        self._max_user_bytes = max_user_bytes
        self._kept = kept

    def check(self, name: str, head: bytes, size: int) -> str:
        """The name under which a file may be kept.

        Args:
            name: As the client says.
            head: The file's first kilobyte.
            size: Its bytes.

        Raises:
            Problem: 413, it is too large; 415, it cannot be read.
        """
        if size > self._max_bytes:
            what = f"{size:,} bytes, the limit is {self._max_bytes:,}"
            raise Problem(413, "too_large", what, where=name, fix="upload a smaller file")
        name = safe_name(name)
        why = refusal(name, head)
        if why:
            fix = "upload a document: docs/reading-files.md lists the kinds"
            raise Problem(415, "unsupported_file", why, where=name, fix=fix)
        return name

    def incoming(self) -> Path:
        """A path for a file that is being received."""
        path = self.files / ".incoming"
        path.mkdir(parents=True, exist_ok=True)
        return path / uuid.uuid4().hex

    async def keep(
        self, user: str, collection: str, pipeline: str, name: str, data: Path
    ) -> Upload:
        """Take a file over, durably, to be ingested in the background.

        Args:
            user: Whose it is.
            collection: The one that it goes into.
            pipeline: Whose index that is.
            name: From `check`.
            data: The file, at a path of `incoming`; it is moved.

        Raises:
            Problem: 409, the user has as many documents as a user may have; 413, as many bytes.
        """
        index = self._address(pipeline, collection).key
        key = hashlib.sha256(f"{index}\0{name}".encode()).hexdigest()[:32]
        path = self.files / plain(user) / key / name
        size = (await asyncio.to_thread(data.stat)).st_size

        def write(db: Database) -> Upload:
            db.lock(f"uploads of {user}")
            (used,) = db.rows(
                "SELECT count(*) AS count, CAST(coalesce(sum(bytes), 0) AS BIGINT) AS total "
                "FROM documents WHERE owner = ? AND id != ?",
                (user, key),
            )
            count, total = used["count"], used["total"]
            if count >= self._max_documents:
                what = f"there are {count} documents, the limit is {self._max_documents}"
                raise Problem(409, "too_many_documents", what, fix="delete some")
            if total + size > self._max_user_bytes:
                what = f"your documents have {total:,} bytes, the limit is {self._max_user_bytes:,}"
                raise Problem(413, "too_many_bytes", what, where=name, fix="delete some")
            db.execute(
                "INSERT INTO documents (id, owner, collection, pipeline, name, path, bytes, "
                "status, created) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?) "
                "ON CONFLICT (owner, id) DO UPDATE SET path = excluded.path, "
                "bytes = excluded.bytes, status = 'queued', detail = '', chunks = 0, "
                "progress = 0, claim = NULL, deaths = 0, created = excluded.created, begun = 0",
                (key, user, collection, pipeline, name, str(path), size, time.time()),
            )
            kept = _one(db, user, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            data.replace(path)  # last: it cannot be done again
            sync(path)
            return kept

        kept = await self._state.do(write)
        self._kept()
        return kept

    async def get(self, user: str, key: str) -> Upload:
        """An upload and its progress.

        Raises:
            Problem: 404, the user has none of this id.
        """
        return await self._state.do(lambda db: _one(db, user, key))

    async def of(
        self, user: str, after: str | None = None, limit: int = LISTED, words: str = ""
    ) -> list[Upload]:
        """The user's uploads, the latest first.

        Args:
            user: Whose they are.
            after: The id of the last one that was read; those that come after it. None: from the
                first on.
            limit: How many at most.
            words: Only those that have all of these in their names.

        Raises:
            Problem: 404, the user has none of the id `after`.
        """
        patterns = like(words)

        def read(db: Database) -> list[Upload]:
            where, values = "WHERE owner = ?", [user]
            if after is not None:
                _one(db, user, after)
                where += (
                    " AND (created, id) < "
                    "(SELECT created, id FROM documents WHERE owner = ? AND id = ?)"
                )
                values += [user, after]
            where += " AND lower(name) LIKE ? ESCAPE '!'" * len(patterns)
            order = " ORDER BY created DESC, id DESC LIMIT ?"
            rows = db.rows(_SHOWN + where + order, (*values, *patterns, limit))
            return [Upload(**row) for row in rows]

        return await self._state.do(read)

    async def stored(self, user: str, key: str) -> StoredUpload:
        """An upload and where its file is.

        Raises:
            Problem: 404, the user has none of this id.
        """

        def read(db: Database) -> StoredUpload:
            row = db.row("SELECT * FROM documents WHERE owner = ? AND id = ?", (user, key))
            if row is None:
                raise missing(key)
            return StoredUpload.of(row)

        return await self._state.do(read)


def safe_name(name: str) -> str:
    """The last part of a name, without what file systems or shells could trip over.

    Raises:
        Problem: 415, nothing is left of it.
    """
    plain = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    plain = _UNSAFE.sub("_", plain).lstrip(". ").rstrip()
    stem, dot, suffix = plain.rpartition(".")
    room = NAME_BYTES - len(f"{dot}{suffix}".encode())
    if not stem or room < 1:
        raise Problem(415, "unsupported_file", "the file has no usable name", where=name[:120])
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix


def _one(db: Database, user: str, key: str) -> Upload:
    row = db.row(_SHOWN + "WHERE owner = ? AND id = ?", (user, key))
    if row is None:
        raise missing(key)
    return Upload(**row)


def missing(key: str) -> Problem:
    """The answer where a user has no upload of an id."""
    what = f"there is no document {key[:64]!r}"
    return Problem(404, "no_document", what, fix="name one that GET /documents lists")
