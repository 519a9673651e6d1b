"""Filling an index from files: only changed files are read, only new chunks embedded.

Files are parsed on a thread of their own while the embedder works; what is in memory is bounded
by a window of chunks and the largest file, not by the corpus. Each window is one commit, so that
an ingest that was stopped, however, goes on from there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.index import Index
from rag.index.ingest.batch import HELD, Batch
from rag.index.ingest.names import part_uri, uri_of, whole_uri
from rag.index.ingest.plan import IngestPlan
from rag.index.ingest.prefetch import prefetch
from rag.index.ingest.unread import Unread, load_unread, save_unread
from rag.index.readers.discover import FileRef, Skipped
from rag.index.readers.read import read_file
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.models import Embedder

Splitter = Callable[[Sequence[Document]], list[Chunk]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is.

    Attributes:
        files: Committed.
        bytes: Of the files, committed or, by their share of chunks, embedded.
        chunks: Embedded.
    """

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
        partly: Files of which something could not be read, with what.
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
    partly: list[Skipped] = field(default_factory=list)
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
    work = (
        part
        for file in todo.files
        for part in _parse(file, uri_of(file.path, todo.root), split, fingerprint)
    )
    ready = prefetch(work, weigh=lambda parsed: len(parsed.chunks), room=HELD)
    with closing(ready):
        for parsed in ready:
            window.add(parsed)
    window.commit()
    _note_unread(index, todo, window.failed)
    report.seconds = perf_counter() - started
    return report


def _note_unread(index: Index, todo: IngestPlan, failed: dict[str, Unread]) -> None:
    """Replace what is known of the plan's files by how it went."""
    before = load_unread(index.folder)
    tried = {uri_of(file.path, todo.root) for file in todo.files}
    now = {uri: one for uri, one in before.items() if uri not in tried} | failed
    if now != before:
        save_unread(index.folder, now)


@dataclass(frozen=True)
class _Parsed:
    """A file's chunks, or those of a part of a large one, or why there are none.

    The first part of a file comes last, and only with it the file's digest: a file that was
    stopped in between counts as changed.

    Attributes:
        file: The file.
        uri: Of the file, or of the part.
        seconds: What it took.
        bytes: The share of the file's bytes.
        chunks: All of them.
        digest: Hash of the file's bytes and the way of splitting; "" for a part that is not the
            last one.
        parts: With the digest, the URIs of all further parts.
        is_table: Whether it may have had parts before.
        warnings: What could not be read.
        failure: Why it could not be read; "" if it could.
    """

    file: FileRef
    uri: str
    seconds: float
    bytes: int
    chunks: Sequence[Chunk] = ()
    digest: str = ""
    parts: Sequence[str] = ()
    is_table: bool = False
    warnings: Sequence[str] = ()
    failure: str = ""


def _parse(file: FileRef, uri: str, split: Splitter, fingerprint: str) -> Iterator[_Parsed]:
    """The parts of a file, the first one last."""
    started = perf_counter()
    warnings: list[str] = []
    first: Sequence[Chunk] = ()
    parts: list[str] = []
    is_table = False
    left = file.size
    try:
        digest = f"{_hash(file)}:{fingerprint}"
        for part, documents in groupby(read_file(file, warnings.append), key=_part):
            chunks = split([_whole(document) for document in documents])
            is_table = is_table or any(chunk.rows for chunk in chunks)
            if not part:
                first = chunks
                continue
            parts.append(part_uri(uri, part))
            size = min(left, sum(len(chunk.text) for chunk in chunks))
            left -= size
            yield _Parsed(file, parts[-1], perf_counter() - started, size, chunks)
            started = perf_counter()
    except LoadError as error:
        yield _Parsed(file, uri, perf_counter() - started, left, failure=error.what)
        return
    seconds = perf_counter() - started
    yield _Parsed(file, uri, seconds, left, first, digest, parts, is_table, warnings)


def _part(document: Document) -> str:
    return str(document.metadata.get("part", ""))


def _whole(document: Document) -> Document:
    """The document without the name of its part, which its source says."""
    document.metadata.pop("part", None)
    return document


def _hash(file: FileRef) -> str:
    try:
        with file.path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from error


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
        self._sources = self._files = self._same = self._waiting = self._bytes = 0
        self._gone: list[str] = []
        self.failed: dict[str, Unread] = {}

    def add(self, parsed: _Parsed) -> None:
        """Take a file or a part of one; when the window is full, embed and commit."""
        file, report = parsed.file, self._report
        report.parsing_seconds += parsed.seconds
        report.partly += [Skipped(file.path, text) for text in parsed.warnings]
        if parsed.failure:
            report.skipped.append(Skipped(file.path, parsed.failure))
            if not parsed.failure.startswith(("cannot be read", "changed while")):
                self.failed[parsed.uri] = Unread(file.size, file.mtime_ns, parsed.failure)
            self._bytes += parsed.bytes
            return
        self._sources += 1
        self._waiting += parsed.bytes
        if parsed.digest:
            before = self._index.source(parsed.uri)
            self._same += before is not None and before.digest == parsed.digest
            self._files += 1
            if parsed.is_table:
                self._gone += self._parts.get(parsed.uri, set()) - {*parsed.parts}
        self._batch.add(parsed.uri, parsed.chunks, parsed.digest, file.size, file.mtime_ns)
        if self._batch.full:
            self.commit()

    @cached_property
    def _parts(self) -> dict[str, set[str]]:
        """The parts of tables that the index has, by the URI of their file."""
        found: dict[str, set[str]] = defaultdict(set)
        for source in self._index.sources():
            if (whole := whole_uri(source.uri)) != source.uri:
                found[whole].add(source.uri)
        return found

    def commit(self) -> None:
        """Embed what is new of the files that wait, and commit them."""
        if not self._sources:
            return
        report = self._report
        if self._gone:  # before its file counts as done
            report.chunks_removed += self._index.delete(self._gone)
        wrote = self._batch.commit()
        report.embedding_seconds = self._batch.embedding_seconds
        report.writing_seconds = self._batch.writing_seconds
        report.files += self._files - self._same
        report.unchanged += self._same
        report.chunks_added += wrote.added
        report.chunks_kept += wrote.kept
        report.chunks_removed += wrote.removed
        self._bytes += self._waiting
        self._sources = self._files = self._same = self._waiting = 0
        self._gone = []
        self._embedded(0)

    def _embedded(self, chunks: int) -> None:
        report = self._report
        share = self._waiting * chunks // max(self._batch.new, chunks, 1)
        self._on_progress(Progress(report.files, self._bytes + share, report.chunks_added + chunks))
