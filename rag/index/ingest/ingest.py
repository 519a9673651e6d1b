"""Filling an index from files: only changed files are read, only new chunks embedded.

Files are parsed on a thread of their own while the embedder works, or by workers, who embed too;
what is in memory is bounded by a window of chunks and the largest file, not by the corpus. Each
window is one commit, so that an ingest that was stopped, however, goes on from there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING

from rag.index.index import Index
from rag.index.ingest.batch import HELD, Batch, Vectors
from rag.index.ingest.mapper import Lost, Mapper
from rag.index.ingest.names import name_of, whole_uri
from rag.index.ingest.parse import Parsed, Splitter
from rag.index.ingest.plan import IngestPlan
from rag.index.ingest.unread import Unread, load_unread, save_unread
from rag.index.ingest.work import IngestWork, embedded
from rag.index.ingest.workers import ThreadWorker
from rag.index.readers.discover import Skipped

if TYPE_CHECKING:
    from rag.models import Embedder


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
    mapper: Mapper | None = None,
) -> IngestReport:
    """Do what a plan says. Any stop leaves the index as of the last commit.

    Args:
        todo: From `rag.index.ingest.plan.plan`.
        index: Open for writing.
        embedder: Makes the vectors.
        split: Documents to chunks; called on a thread of its own.
        fingerprint: Of the settings of `split`, as for `plan`.
        on_progress: Called after each slice of chunks and each commit.
        mapper: Workers that have the same `split` and `embedder`, as `rag.index.ingest.on` makes
            them: they parse and embed. None: a thread parses, and the caller's embeds.

    Returns:
        The report. Files that could not be read are in its `skipped`, and what the index had
        of them stays.
    """
    started = perf_counter()
    report = IngestReport(unchanged=todo.unchanged, skipped=list(todo.skipped))
    files = [(file, name_of(file, todo.root)) for file in todo.files]
    with ExitStack() as stack:
        vectors: Vectors | None = None
        if mapper is None:
            work = IngestWork(split, fingerprint, embedder)
            mapper = stack.enter_context(Mapper(lambda: ThreadWorker(work)))
        else:
            vectors = partial(embedded, mapper)
        window = _Window(index, Batch(index, embedder, vectors=vectors), report, on_progress)
        ready = mapper.map("parse", files, weigh=lambda one: len(one.chunks), room=HELD)
        stack.enter_context(closing(ready))
        for parsed in ready:
            window.add(parsed)
        window.commit()
    if todo.gone:  # last: a file that was moved has its vectors from where it was
        report.chunks_removed += index.delete(todo.gone)
        report.removed = len(todo.gone)
    _note_unread(index, todo, window.failed)
    report.seconds = perf_counter() - started
    return report


def _note_unread(index: Index, todo: IngestPlan, failed: dict[str, Unread]) -> None:
    """Replace what is known of the plan's files by how it went."""
    before = load_unread(index.folder)
    tried = {name_of(file, todo.root) for file in todo.files}
    now = {uri: one for uri, one in before.items() if uri not in tried} | failed
    if now != before:
        save_unread(index.folder, now)


class _Window:
    """Files that wait for their vectors, to be embedded and committed together."""

    def __init__(
        self,
        index: Index,
        batch: Batch,
        report: IngestReport,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._index, self._report, self._on_progress = index, report, on_progress
        self._batch = batch
        batch.on_progress = self._embedded
        self._sources = self._files = self._same = self._waiting = self._bytes = 0
        self._gone: list[str] = []
        self.failed: dict[str, Unread] = {}

    def add(self, parsed: Parsed | Lost) -> None:
        """Take a file or a part of one; when the window is full, embed and commit."""
        if isinstance(parsed, Lost):
            file, _ = parsed.item
            reason = f"no worker could read it: {parsed.reason}"
            self._report.skipped.append(Skipped(file.place, reason))
            self._bytes += file.size
            return
        file, report = parsed.file, self._report
        report.parsing_seconds += parsed.seconds
        report.partly += [Skipped(file.place, text) for text in parsed.warnings]
        if parsed.failure:
            report.skipped.append(Skipped(file.place, parsed.failure))
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
