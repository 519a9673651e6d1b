"""The worker that ingests uploads in the background, one after another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from rag.errors import IndexStateError, LoadError, RagError
from rag.index import Index, IndexBinding
from rag.index.ingest.ingest import Progress, ingest
from rag.index.ingest.names import uri_of
from rag.index.ingest.plan import plan
from rag.index.sources import of_file
from rag.serve.errors import problem_of
from rag.serve.flows import Flows
from rag.serve.inspection import Limits, inspect_apart
from rag.serve.pipeline import Pipelines
from rag.serve.uploads import StoredUpload, Uploads

log = logging.getLogger("rag.serve")

RETRY = 0.5
"""Seconds until an index that another process writes to is tried again."""
DELETE_TRIES = 20
"""Times that a deletion tries; an ingest goes on trying."""
POLL = 5.0
"""Seconds until the uploads of other processes are noticed."""


class UploadWorker:
    """Ingests uploads, and takes them out of the index again.

    Args:
        uploads: What is to be done.
        pipelines: Whose indexes are written.
        flows: Knows where they are.
        limits: What a file may hold and take.
        settled: Called with `ready` or `failed` when an upload is done.
    """

    def __init__(
        self,
        uploads: Uploads,
        pipelines: Pipelines,
        flows: Flows,
        limits: Limits,
        settled: Callable[[str], None],
    ) -> None:
        self._uploads, self._pipelines, self._flows = uploads, pipelines, flows
        self._limits, self._settled = limits, settled
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By index: this process writes to each once at a time."""
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Go on with what is queued, and wait for more."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop behind the batch at hand; what is queued or half done goes on at the next start."""
        self._stopping = True
        self._uploads.queued.set()
        if self._task is not None:
            await self._task
        self._uploads.close()

    async def delete(self, user: str, key: str) -> None:
        """Take an upload out of the index, and delete its file.

        Raises:
            Problem: 404, the user has none of this id.
            IndexStateError: Another process writes to the index.
        """
        upload = await self._uploads.stored(user, key)
        binding = self._binding(upload)
        async with self._writing[binding.address.key]:
            index = await self._writer(binding, DELETE_TRIES)
            try:
                await asyncio.to_thread(_forget, index, upload.path)
            finally:
                index.close()
            await self._uploads.forget(upload)

    async def _work(self) -> None:
        await self._uploads.release()
        while not self._stopping:
            upload = await self._uploads.claim()
            if upload is None:
                self._uploads.queued.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._uploads.queued.wait(), POLL)
                continue
            try:
                chunks = await self._ingest(upload)
                await self._uploads.settle(upload, "ready", chunks=chunks, progress=1.0)
                self._settled("ready")
            except _Stopped:
                await self._uploads.settle(upload, "queued")
            except Exception as error:
                if _is_locked(error):  # others need not wait for it
                    await self._uploads.settle(upload, "queued")
                    await asyncio.sleep(RETRY)
                    continue
                if not isinstance(error, RagError):
                    log.exception("an upload could not be ingested")
                await self._uploads.settle(upload, "failed", detail=problem_of(error).what)
                self._settled("failed")

    def _binding(self, upload: StoredUpload) -> IndexBinding:
        return self._flows.binding(self._pipelines[upload.pipeline], upload.collection)

    async def _ingest(self, upload: StoredUpload) -> int:
        """Ingest a file; returns the number of its chunks."""
        await inspect_apart(upload.path, self._limits)
        binding = self._binding(upload)
        embedder = await asyncio.to_thread(binding.open_embedder)
        split, fingerprint = binding.splitter(), binding.fingerprint
        report = self._reporter(upload)

        def work(index: Index) -> int:
            todo = plan([upload.path], index, fingerprint)
            done = ingest(
                todo, index, embedder, fingerprint=fingerprint, on_progress=report, split=split
            )
            if done.skipped:
                raise LoadError(done.skipped[0].reason)
            return sum(source.chunks for source in of_file(index, uri_of(upload.path)))

        async with self._writing[binding.address.key]:
            index = await self._writer(binding, 1)
            try:
                return await asyncio.to_thread(work, index)
            finally:
                index.close()

    def _reporter(self, upload: StoredUpload) -> Callable[[Progress], None]:
        """Takes the progress of an ingest, in its thread; ends it where the server stops."""
        loop, size, highest = asyncio.get_running_loop(), max(upload.bytes, 1), 0.0

        def report(progress: Progress) -> None:
            nonlocal highest
            if self._stopping:
                raise _Stopped
            # How many chunks will come is not known before the file is read to its end.
            share = max(progress.bytes / size, progress.chunks / (progress.chunks + 64))
            if share > highest:
                highest = min(share, 0.99)
                loop.call_soon_threadsafe(self._uploads.progressed, upload, highest)

        return report

    async def _writer(self, binding: IndexBinding, tries: int) -> Index:
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


class _Stopped(Exception):  # noqa: N818 - no error: the work goes on at the next start
    """The server stops before an upload is done."""
