"""Filling an index from files: only changed files are read, only new chunks embedded.

Files are parsed on a thread of their own while the embedder works; what is in memory is bounded
by a window of chunks and the largest file, not by the corpus. Each window is one commit, so that
an ingest that was stopped, however, goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.index import Index
from rag.index.ingest.batch import HELD, Batch
from rag.index.ingest.plan import IngestPlan, uri_of
from rag.index.ingest.prefetch import prefetch
from rag.index.readers.discover import FileRef, Skipped, read
from rag.index.readers.load import load
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.models import Embedder

Splitter = Callable[[Sequence[Document]], list[Chunk]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is: files and bytes committed, chunks embedded so far."""

    files: int
    bytes: int
    chunks: int


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes:
        files: Files read and committed.
        unchanged: Files that were as the index had them.
        removed: Sources deleted because their file is gone.
        skipped: Files left out, with the reason.
        chunks_added: Chunks embedded and stored.
        chunks_kept: Chunks of changed files that had not changed.
        chunks_removed: Chunks deleted.
        seconds: In all.
        embedding_seconds: Of these, in the embedder.
        writing_seconds: Of these, in commits.
        parsing_seconds: Spent on reading and splitting, beside the others.
    """

    files: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    chunks_added: int = 0
    chunks_kept: int = 0
    chunks_removed: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0
    writing_seconds: float = 0.0
    parsing_seconds: float = 0.0


def ingest(
    todo: IngestPlan,
    index: Index,
    embedder: Embedder,
    *,
    split: Splitter,
    fingerprint: str,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> IngestReport:
    """Do what a plan says. Any stop leaves the index as of the last commit.

    Args:
        todo: From `rag.index.ingest.plan.plan`.
        index: Open for writing.
        embedder: Makes the vectors.
        split: Documents to chunks; called on a thread of its own.
        fingerprint: Of the settings of `split`, as for `plan`.
        on_progress: Called after each slice of chunks and each commit.

    Returns:
        The report. Files that could not be read are in its `skipped`, and what the index had
        of them stays.
    """
    started = perf_counter()
    report = IngestReport(unchanged=todo.unchanged, skipped=list(todo.skipped))
    if todo.gone:
        report.chunks_removed += index.delete(todo.gone)
        report.removed = len(todo.gone)
    window = _Window(index, embedder, report, on_progress)
    parse = partial(_parse, split=split, fingerprint=fingerprint)
    ready = prefetch(parse, todo.files, weigh=lambda parsed: len(parsed.chunks), room=HELD)
    with closing(ready):
        for parsed in ready:
            window.add(parsed)
    window.commit()
    report.seconds = perf_counter() - started
    return report


@dataclass(frozen=True)
class _Parsed:
    """A file's chunks, or why it has none.

    Attributes:
        file: The file.
        seconds: What it took.
        digest: Hash of its bytes and the way of splitting.
        chunks: All of its chunks.
        failure: Why it could not be read; "" if it could.
    """

    file: FileRef
    seconds: float
    digest: str = ""
    chunks: Sequence[Chunk] = ()
    failure: str = ""


def _parse(file: FileRef, *, split: Splitter, fingerprint: str) -> _Parsed:
    started = perf_counter()
    try:
        data = read(file)
        chunks = split(load(file.path, data, file.name))
    except LoadError as error:
        return _Parsed(file, perf_counter() - started, failure=error.what)
    digest = f"{hashlib.sha256(data).hexdigest()}:{fingerprint}"
    return _Parsed(file, perf_counter() - started, digest, chunks)


class _Window:
    """Files that wait for their vectors, to be embedded and committed together."""

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        report: IngestReport,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._index, self._report, self._on_progress = index, report, on_progress
        self._batch = Batch(index, embedder, self._embedded)
        self._files = self._same = self._waiting = self._bytes = 0

    def add(self, parsed: _Parsed) -> None:
        """Take a file; when the window is full, embed and commit."""
        file, report = parsed.file, self._report
        report.parsing_seconds += parsed.seconds
        if parsed.failure:
            report.skipped.append(Skipped(file.path, parsed.failure))
            self._bytes += file.size
            return
        uri = uri_of(file.path)
        before = self._index.source(uri)
        self._same += before is not None and before.digest == parsed.digest
        self._files += 1
        self._waiting += file.size
        self._batch.add(uri, parsed.chunks, parsed.digest, file.size, file.mtime_ns)
        if self._batch.full:
            self.commit()

    def commit(self) -> None:
        """Embed what is new of the files that wait, and commit them."""
        if not self._files:
            return
        report = self._report
        wrote = self._batch.commit()
        report.embedding_seconds = self._batch.embedding_seconds
        report.writing_seconds = self._batch.writing_seconds
        report.files += self._files - self._same
        report.unchanged += self._same
        report.chunks_added += wrote.added
        report.chunks_kept += wrote.kept
        report.chunks_removed += wrote.removed
        self._bytes += self._waiting
        self._files = self._same = self._waiting = 0
        self._embedded(0)

    def _embedded(self, chunks: int) -> None:
        report = self._report
        self._on_progress(Progress(report.files, self._bytes, report.chunks_added + chunks))
