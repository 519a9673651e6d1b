"""Uploaded documents: checked, kept, ingested in the background, deleted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import time
import unicodedata
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from rag.errors import IndexStateError, RagError
from rag.serve.http.problems import Problem, problem_of
from rag.serve.inspect import refusal
from rag.serve.tenants import folder

if TYPE_CHECKING:
    from rag.index import Index
    from rag.index.ingest.ingest import Progress
    from rag.serve.service import Service

log = logging.getLogger("rag.serve")

NAME_BYTES = 120
PAUSE = 0.5
"""Seconds until an index that somebody else writes to is tried again."""
_SELECT = "SELECT id, name, bytes, status, detail, chunks, progress, created FROM documents "
_BAD = re.compile(r"[^\w.\- ()]+")


class Document(BaseModel):
    """An uploaded document."""

    id: str
    name: str
    bytes: int
    status: Literal["queued", "ingesting", "ready", "failed"]
    detail: str = Field(description="of a document that failed: why")
    chunks: int = Field(description="chunks of it in the index")
    progress: float = Field(description="share that is ingested, 0 to 1")
    created: float = Field(description="seconds since the epoch")


class Documents:
    """The uploads of a server. What `keep` has accepted survives a crash or a shutdown.

    A document is known by its name: another file of the same name takes its place.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Go on with what waits, and wait for more."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Finish the document at hand; what waits is taken up at the next start."""
        self._stopping = True
        self._wake.set()
        if self._worker is not None:
            await self._worker

    def check(self, name: str, head: bytes, size: int) -> str:
        """The name under which a file may be kept.

        Raises:
            Problem: 413, it is too large; 415, it cannot be read.
        """
        limit = self._service.settings.max_upload
        if size > limit:
            what = f"{size:,} bytes, the limit is {limit:,}"
            raise Problem(413, "too_large", what, where=name, fix="upload a smaller file")
        name = safe_name(name)
        why = refusal(name, head)
        if why:
            fix = "upload text, Markdown, HTML, PDF, DOCX, CSV or code"
            raise Problem(415, "unsupported_file", why, where=name, fix=fix)
        return name

    async def keep(self, tenant: str, pipeline: str, name: str, data: Path) -> Document:
        """Take a file over, for good, and ingest it in the background.

        Args:
            tenant: Whose it is.
            pipeline: Into whose index it goes.
            name: From `check`.
            data: The file, in `incoming`; it is moved.

        Raises:
            Problem: 409, the tenant has as many documents as it may have.
        """
        service = self._service
        key = self._id(tenant, pipeline, name)
        path = self._folder(tenant) / key / name
        limit = service.settings.max_documents

        def write(connection: sqlite3.Connection) -> Any:
            size = data.stat().st_size
            count = connection.execute(
                "SELECT count(*) FROM documents WHERE tenant = ? AND id != ?", (tenant, key)
            ).fetchone()[0]
            if count >= limit:
                what = f"there are {count} documents, the limit is {limit}"
                raise Problem(409, "too_many_documents", what, fix="delete some")
            path.parent.mkdir(parents=True, exist_ok=True)
            data.replace(path)
            _sync(path)
            connection.execute(
                "INSERT OR REPLACE INTO documents (id, tenant, pipeline, name, path, bytes, "
                "status, created) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
                (key, tenant, pipeline, name, str(path), size, time.time()),
            )
            return _one(connection, tenant, key)

        row = await service.store.do(write)
        self._wake.set()
        return Document(**row)

    async def get(self, tenant: str, key: str) -> Document:
        """A document and how far it is.

        Raises:
            Problem: 404, the tenant has none of this id.
        """
        row = await self._service.store.do(lambda connection: _one(connection, tenant, key))
        if row is None:
            raise _missing(key)
        return Document(**row)

    async def listed(self, tenant: str, limit: int = 1000) -> list[Document]:
        """The tenant's documents, the latest first."""
        rows = await self._service.store.do(
            lambda connection: connection.execute(
                _SELECT + "WHERE tenant = ? ORDER BY created DESC LIMIT ?",
                (tenant, limit),
            ).fetchall()
        )
        return [Document(**dict(row)) for row in rows]

    async def delete(self, tenant: str, key: str) -> None:
        """Take a document out of the index and forget its file.

        Raises:
            Problem: 404, the tenant has none of this id; 503, somebody else writes to the index.
        """

        def read(connection: sqlite3.Connection) -> Any:
            return connection.execute(
                "SELECT * FROM documents WHERE tenant = ? AND id = ?", (tenant, key)
            ).fetchone()

        row = await self._service.store.do(read)
        if row is None:
            raise _missing(key)
        async with self._writing:
            index = await self._writer(row, tries=20)
            try:
                await asyncio.to_thread(index.delete, [row["path"]])
            finally:
                index.close()
            await self._service.store.do(
                lambda connection: connection.execute(
                    "DELETE FROM documents WHERE tenant = ? AND id = ?", (tenant, key)
                )
            )
            await asyncio.to_thread(shutil.rmtree, Path(row["path"]).parent, ignore_errors=True)

    def incoming(self) -> Path:
        """A name for a file that is being received."""
        path = (self._service.settings.data / "files" / ".incoming").absolute()
        path.mkdir(parents=True, exist_ok=True)
        return path / uuid.uuid4().hex

    def _folder(self, tenant: str) -> Path:
        return (self._service.settings.data / "files" / folder(tenant)).absolute()

    def _id(self, tenant: str, pipeline: str, name: str) -> str:
        service = self._service
        path = service.tenants.index_path(service.flows[pipeline], tenant)
        return hashlib.sha256(f"{path}\0{name}".encode()).hexdigest()[:32]

    async def _work(self) -> None:
        store = self._service.store
        await store.do(_release)
        while not self._stopping:
            row = await store.do(_claim)
            if row is None:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    # Another worker's uploads are seen without a sign.
                    await asyncio.wait_for(self._wake.wait(), 5)
                continue
            try:
                async with self._writing:
                    chunks = await self._ingest(row)
                await self._set(row, "ready", chunks=chunks, progress=1.0)
            except _Stopped:
                await self._set(row, "queued")
            except RagError as error:
                await self._set(row, "failed", detail=problem_of(error).what)
            except Exception as error:
                log.exception("an upload could not be ingested")
                await self._set(row, "failed", detail=problem_of(error).what)

    async def _ingest(self, row: Any) -> int:
        from rag.index import Index
        from rag.index.ingest.ingest import ingest, plan
        from rag.index.spec import IndexSpec
        from rag.models import LLM, Embedder

        service, path = self._service, Path(row["path"])
        flow = service.flows[row["pipeline"]]
        await self._inspect(path)
        embedder = await asyncio.to_thread(service.tenants.embedder, flow)
        specs = flow.resources.specs
        spec = IndexSpec.of(specs.get("index", Index.default))
        mark = spec.fingerprint(
            specs.get("embedder", Embedder.default), specs.get("llm", LLM.default)
        )
        split = spec.splitter_of(embedder, lambda: flow.resources.get("llm", LLM))
        index = await self._writer(row)
        size = max(row["bytes"], 1)
        loop, told = asyncio.get_running_loop(), 0.0

        def tell(progress: Progress) -> None:
            nonlocal told
            # Chunks to come are not known before the file is read to its end.
            share = max(progress.bytes / size, progress.chunks / (progress.chunks + 64))
            if share > told:
                told = min(share, 0.99)
                loop.call_soon_threadsafe(self._progress, row, told)

        def work() -> int:
            todo = plan([path], index, mark)
            report = ingest(todo, index, embedder, config=mark, on_progress=tell, split=split)
            if report.skipped:
                raise Problem(422, "unreadable", report.skipped[0].reason)
            source = index.source(path.as_posix())
            return source.chunks if source else 0

        try:
            return await asyncio.to_thread(work)
        finally:
            index.close()

    async def _inspect(self, path: Path) -> None:
        """Read the file in a process of its own first.

        Raises:
            Problem: 422, it cannot be read within the limits.
        """
        limits = self._service.settings
        seconds = int(limits.inspect_seconds)
        numbers = (limits.max_pages, limits.max_text, limits.inspect_memory, seconds)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rag.serve.inspect", str(path), *map(str, numbers),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            async with asyncio.timeout(limits.inspect_seconds * 2):
                out, _ = await process.communicate()
        except TimeoutError:
            out = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            answer = json.loads(out)
        except ValueError:
            answer = {"reason": "reading it takes too long or too much memory"}
        if "reason" in answer:
            raise Problem(422, "unreadable", answer["reason"])

    async def _writer(self, row: Any, tries: int | None = None) -> Index:
        """The index, open for writing; waits while another process writes to it."""
        from rag.index import Index

        service = self._service
        flow = service.flows[row["pipeline"]]
        embedder = await asyncio.to_thread(service.tenants.embedder, flow)
        path = service.tenants.index_path(flow, row["tenant"])
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                return await asyncio.to_thread(
                    Index.writer, path, embedder=embedder.id, dim=embedder.dim
                )
            except IndexStateError as error:
                if "another process" not in error.what:
                    raise
                if tries is not None:
                    tries -= 1
                    if tries <= 0:
                        raise
                if self._stopping:
                    raise _Stopped from error
                await asyncio.sleep(PAUSE)

    def _progress(self, row: Any, share: float) -> None:
        self._service.store.post(
            lambda connection: connection.execute(
                "UPDATE documents SET progress = ? WHERE tenant = ? AND id = ?",
                (share, row["tenant"], row["id"]),
            )
        )

    async def _set(
        self, row: Any, status: str, *, detail: str = "", chunks: int = 0, progress: float = 0.0
    ) -> None:
        # A file of the same name that came meanwhile is still to be done.
        await self._service.store.do(
            lambda connection: connection.execute(
                "UPDATE documents SET status = ?, detail = ?, chunks = ?, progress = ?, "
                "worker = NULL WHERE tenant = ? AND id = ? AND created = ?",
                (status, detail, chunks, progress, row["tenant"], row["id"], row["created"]),
            )
        )
        if status in ("ready", "failed"):
            self._service.metrics.ingested.labels(status).inc()


class _Stopped(Exception):  # noqa: N818 - no error: the work goes on at the next start
    """The server stops before a document was begun."""


def safe_name(name: str) -> str:
    """The last part of a name, without what file systems or shells could trip over.

    Raises:
        Problem: 415, nothing is left of it.
    """
    plain = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    plain = _BAD.sub("_", plain).lstrip(". ").rstrip()
    stem, dot, ending = plain.rpartition(".")
    room = NAME_BYTES - len(f"{dot}{ending}".encode())
    if not stem or room < 1:
        raise Problem(415, "unsupported_file", "the file has no usable name", where=name[:120])
    return stem.encode()[:room].decode(errors="ignore") + dot + ending


def _claim(connection: sqlite3.Connection) -> Any:
    return connection.execute(
        "UPDATE documents SET status = 'ingesting', worker = ? WHERE rowid = "
        "(SELECT rowid FROM documents WHERE status = 'queued' ORDER BY created LIMIT 1) "
        "RETURNING *",
        (os.getpid(),),
    ).fetchone()


def _release(connection: sqlite3.Connection) -> None:
    """Put back what a process that is gone had begun."""
    for row in connection.execute(
        "SELECT DISTINCT worker FROM documents WHERE status = 'ingesting'"
    ).fetchall():
        if row["worker"] == os.getpid() or not _alive(row["worker"]):
            connection.execute(
                "UPDATE documents SET status = 'queued', worker = NULL "
                "WHERE status = 'ingesting' AND worker IS ?",
                (row["worker"],),
            )


def _alive(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return bool(pid)


def _one(connection: sqlite3.Connection, tenant: str, key: str) -> Any:
    row = connection.execute(_SELECT + "WHERE tenant = ? AND id = ?", (tenant, key)).fetchone()
    return dict(row) if row else None


def _sync(path: Path) -> None:
    """The file and its name are on the disk when this returns."""
    for one in (path, path.parent):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _missing(key: str) -> Problem:
    return Problem(404, "no_document", f"there is no document {key[:64]!r}")
