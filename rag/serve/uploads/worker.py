"""The worker that ingests uploads, one after another: in a server, or in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context
from pathlib import Path
from time import perf_counter
from typing import Any

from rag.errors import IndexStateError, LoadError, RagError
from rag.flow.run.threads import THREADS
from rag.index import Index, IndexBinding
from rag.index.ingest.ingest import Progress, ingest
from rag.index.ingest.names import uri_of
from rag.index.ingest.plan import plan
from rag.index.sources import of_file
from rag.serve.errors import Problem, problem_of
from rag.serve.observe.telemetry import span
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipelines
from rag.serve.uploads.inspection import Limits, inspect_apart
from rag.serve.uploads.queue import Claim, UploadQueue
from rag.serve.uploads.uploads import Status, StoredUpload

log = logging.getLogger("rag.serve")

RETRY = 0.5
"""Seconds until an index that another process writes to is tried again."""
DELETE_TRIES = 20
"""Times that a deletion tries; an ingest goes on trying."""
POLL = 5.0
"""Seconds until the uploads of other processes, and ended leases, are noticed."""
BEAT = 1.0
"""Seconds between two renewals of a claim, at most."""


class UploadWorker:
    """Ingests uploads, and takes them out of the index again.

    Args:
        queue: What is to be done.
        pipelines: Whose indexes are written.
        flows: Knows where they are.
        limits: What a file may hold and take.
        settled: Called when an upload is done: with `ready` or `failed`, its bytes, its chunks,
            and the seconds that it took.
        tracer: OpenTelemetry's: each ingest is a span. None: there are none.
    """

    def __init__(
        self,
        queue: UploadQueue,
        pipelines: Pipelines,
        flows: Flows,
        limits: Limits,
        settled: Callable[[str, int, int, float], None],
        tracer: Any = None,
    ) -> None:
        self._queue, self._pipelines, self._flows = queue, pipelines, flows
        self._limits, self._settled, self._tracer = limits, settled, tracer
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By index: this process writes to each once at a time."""
        self._task: asyncio.Task[None] | None = None
        self._current: _Ingest | None = None
        self._stopping = False

    def start(self) -> None:
        """Go on with what is queued, and wait for more."""
        # Not in the context of the request that may have started the server.
        self._task = asyncio.create_task(self._work(), context=Context())

    def drain(self) -> None:
        """Begin nothing more, and stop what goes on between two batches."""
        self._stopping = True
        if self._current is not None:
            self._current.stop = True
        self._queue.filled.set()

    async def stop(self, seconds: float) -> None:
        """Stop, and queue again what is not done.

        Args:
            seconds: Until a batch, or a file that is being read, is not waited for any more. It
                goes on by itself until it ends, or the process does.
        """
        self.drain()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=seconds)
        if late:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def delete(self, user: str, key: str) -> None:
        """Take an upload out of the index, and delete its file.

        Raises:
            Problem: 404, the user has none of this id.
            IndexStateError: Another process writes to the index.
        """
        upload = await self._queue.begin_deletion(user, key)
        try:
            await self._remove(upload)
        except BaseException:
            await self._queue.cancel_deletion(upload)
            raise
        await self._queue.forget(upload)

    async def _remove(self, upload: StoredUpload) -> None:
        """Take an upload out of the index."""
        binding = self._binding(upload)
        async with self._writing[binding.address.key]:
            index = await _writer(binding, DELETE_TRIES)
            try:
                await asyncio.to_thread(_forget, index, upload.path)
            finally:
                index.close()

    async def _work(self) -> None:
        while not self._stopping:
            self._queue.filled.clear()
            try:
                claim = await self._queue.claim(tuple(self._pipelines))
                if claim is not None:
                    await self._take(claim)
                    continue
            except RagError as error:  # the state or an index is away; leases end by themselves
                log.error("the worker of uploads has to wait: %s", error)
            except Exception:  # later ones need not fail as well
                log.exception("the worker of uploads failed")
            if not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._queue.filled.wait(), POLL)

    async def _take(self, claim: Claim) -> None:
        """Ingest an upload, and say what became of it."""
        self._current = going = _Ingest(claim.upload)
        going.stop = self._stopping
        beating = asyncio.create_task(self._keep(claim, going))
        started = perf_counter()
        status: Status = "queued"
        detail, chunks = "", 0
        try:
            with self._span(claim.upload) as told:
                chunks = told["chunks"] = await self._ingest(claim.upload, going)
            status = "ready"
        except _Stopped:
            pass
        except asyncio.CancelledError:
            await self._queue.settle(claim, "queued")
            raise
        except Exception as error:
            if not _is_locked(error):  # else others need not wait for it
                if not isinstance(error, RagError):
                    log.exception("an upload could not be ingested")
                status, detail = "failed", problem_of(error).what
        finally:
            beating.cancel()
            self._current = None
        if await self._queue.settle(claim, status, detail=detail, chunks=chunks):
            if status != "queued":
                size, seconds = claim.upload.bytes, perf_counter() - started
                self._settled(status, size, chunks, seconds)
            elif not self._stopping:
                await asyncio.sleep(RETRY)
        elif await self._queue.is_deleted(claim.upload):
            await self._remove(claim.upload)  # a part of it may have been written since

    async def _keep(self, claim: Claim, going: _Ingest) -> None:
        """Renew a claim until it is lost."""
        while not going.stop:
            await asyncio.sleep(min(BEAT, self._queue.lease / 3))
            with contextlib.suppress(Problem):  # the state is away: the lease goes on
                if not await self._queue.renew(claim, going.share):
                    going.stop = True

    def _span(self, upload: StoredUpload) -> AbstractContextManager[dict[str, Any]]:
        return span(
            self._tracer, "ingest", document=upload.id, pipeline=upload.pipeline, bytes=upload.bytes
        )

    def _binding(self, upload: StoredUpload) -> IndexBinding:
        return self._flows.binding(self._pipelines[upload.pipeline], upload.collection)

    async def _ingest(self, upload: StoredUpload, going: _Ingest) -> int:
        """Ingest a file; returns the number of its chunks."""
        with span(self._tracer, "inspect"):
            await inspect_apart(upload.path, self._limits)
        binding = self._binding(upload)

        def work() -> int:
            embedder, fingerprint = binding.open_embedder(), binding.fingerprint
            split, index = binding.splitter(), binding.writer()
            try:
                todo = plan([upload.path], index, fingerprint)
                done = ingest(
                    todo,
                    index,
                    embedder,
                    fingerprint=fingerprint,
                    on_progress=going.progressed,
                    split=split,
                )
                if done.skipped:
                    raise LoadError(done.skipped[0].reason)
                return sum(source.chunks for source in of_file(index, uri_of(upload.path)))
            finally:
                index.close()

        async with self._writing[binding.address.key]:
            going.check()
            with span(self._tracer, "index"):
                found: int = await THREADS.call(work)
            return found


class _Ingest:
    """How far an ingest is, and whether it should stop; `progressed` is called in its thread."""

    def __init__(self, upload: StoredUpload) -> None:
        self._size = max(upload.bytes, 1)
        self.share, self.stop = 0.0, False

    def progressed(self, progress: Progress) -> None:
        """Take the progress; nothing is written if it should stop."""
        self.check()
        # How many chunks will come is not known before the file is read to its end.
        share = max(progress.bytes / self._size, progress.chunks / (progress.chunks + 64))
        self.share = max(self.share, min(share, 0.99))

    def check(self) -> None:
        """Raise if it should stop."""
        if self.stop:
            raise _Stopped


async def _writer(binding: IndexBinding, tries: int) -> Index:
    """An index, open for writing.

    Args:
        binding: Says where it is and how it is filled.
        tries: Give up after so many if another process writes to it.
    """
    while True:
        try:
            return await asyncio.to_thread(binding.writer)
        except IndexStateError as error:
            tries -= 1
            if not _is_locked(error) or tries <= 0:
                raise
            await asyncio.sleep(RETRY)


def _is_locked(error: Exception) -> bool:
    """Whether another process writes to the index."""
    return isinstance(error, IndexStateError) and "another process" in error.what


def _forget(index: Index, path: Path) -> None:
    index.delete(source.uri for source in of_file(index, uri_of(path)))


class _Stopped(Exception):  # noqa: N818 - no error: the upload is queued again
    """The worker stops, or has lost its claim, before an upload is done."""
