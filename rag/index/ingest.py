"""Filling an index from files: only what changed is read, only what is new is embedded.

Files are parsed on a thread of their own while the embedder works; what is in memory is bounded
by a window of chunks, not by the corpus. Each window is one commit, so that an ingest that was
stopped, however, goes on from there.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.index import Index
from rag.index.loading import FileRef, Skipped, discover, load
from rag.index.splitting import embedding_text
from rag.index.types import SourceUpdate

if TYPE_CHECKING:
    import numpy as np

    from rag.llm import Embedder

WINDOW = 1024
"""Chunks that wait to be embedded together: sorted by length, they pad little."""
SLICE = 128
"""Chunks between two signs of progress."""
AHEAD = 16
"""Files that may be parsed ahead of the embedder."""

Splitter = Callable[[Sequence[Document]], list[Document]]


@dataclass(frozen=True)
class Plan:
    """What an ingest has to do.

    Attributes:
        files: New or changed.
        unchanged: How many are as the index has them.
        skipped: Left out, with the reason.
        gone: Sources under the paths whose file is no longer there.
    """

    files: list[FileRef]
    unchanged: int
    skipped: list[Skipped]
    gone: list[str]


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


def plan(paths: Iterable[Path], index: Index | None, config: str, *, prune: bool = False) -> Plan:
    """Compare files with what the index has of them.

    A file counts as unchanged while its size and time of change are as they were, and it was
    split by the same `config`.

    Args:
        paths: Files and folders.
        index: None: there is none yet.
        config: Fingerprint of how chunks are made.
        prune: Find sources whose file is gone.
    """
    paths = [Path(path) for path in paths]
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    unchanged = 0
    there: set[str] = set()
    for found in discover(paths):
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        uri = found.path.as_posix()
        there.add(uri)
        source = index.source(uri) if index else None
        same = source is not None and (source.size, source.mtime_ns) == (found.size, found.mtime_ns)
        if same and source is not None and source.digest.endswith(f":{config}"):
            unchanged += 1
        else:
            files.append(found)
    gone: list[str] = []
    if prune and index:
        roots = [path.absolute() for path in paths]
        known = (source.uri for source in index.sources())
        gone = [uri for uri in known if uri not in there and _under(uri, roots)]
    return Plan(files, unchanged, skipped, gone)


def _under(uri: str, roots: Sequence[Path]) -> bool:
    return any(root in (path := Path(uri)).parents or root == path for root in roots)


def ingest(
    todo: Plan,
    index: Index,
    embedder: Embedder,
    *,
    split: Splitter,
    config: str,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> IngestReport:
    """Do what a plan says. Any stop leaves the index as of the last commit.

    Args:
        todo: From `plan`.
        index: Open for writing.
        embedder: Makes the vectors.
        split: Documents to chunks.
        config: Fingerprint of `split`, as for `plan`.
        on_progress: Told after each slice of chunks and each commit.

    Returns:
        The report; files that could not be read are in its `skipped`.
    """
    started = perf_counter()
    report = IngestReport(unchanged=todo.unchanged, skipped=list(todo.skipped))
    if todo.gone:
        report.chunks_removed += index.delete(todo.gone)
        report.removed = len(todo.gone)
    work = _Work(index, embedder, report, on_progress)
    for file, parsed in _parsed(todo.files, split):
        if isinstance(parsed, Skipped):
            report.skipped.append(parsed)
        elif (source := index.source(uri := file.path.as_posix())) and source.digest == f"{parsed.digest}:{config}":
            report.unchanged += 1
        else:
            work.add(_Pending(file, f"{parsed.digest}:{config}", parsed.chunks, index.missing(uri, parsed.chunks)))
    work.commit()
    report.seconds = perf_counter() - started
    return report


@dataclass(frozen=True)
class _Parsed:
    digest: str
    chunks: list[Document]


@dataclass(frozen=True)
class _Pending:
    file: FileRef
    digest: str
    chunks: list[Document]
    missing: list[int]


class _Work:
    """Files that wait for their vectors, and what becomes of them."""

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        report: IngestReport,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._index, self._embedder = index, embedder
        self._report, self._tell = report, on_progress
        self._pending: list[_Pending] = []
        self._waiting = 0
        self._bytes = 0

    def add(self, pending: _Pending) -> None:
        """Take a file; when a window is full, embed and commit."""
        self._pending.append(pending)
        self._waiting += len(pending.missing)
        if self._waiting >= WINDOW:
            self.commit()

    def commit(self) -> None:
        """Embed what is new of the files that wait, and commit them."""
        if not self._pending:
            return
        texts = [embedding_text(p.chunks[at]) for p in self._pending for at in p.missing]
        vectors = self._embed(texts)
        updates, start = [], 0
        for pending in self._pending:
            file, end = pending.file, start + len(pending.missing)
            part = vectors[start:end]
            uri = file.path.as_posix()
            updates.append(SourceUpdate(uri, pending.digest, file.size, file.mtime_ns, pending.chunks, part))
            start = end
        wrote = self._index.write(updates)
        report = self._report
        report.files += len(updates)
        report.chunks_added += wrote.added
        report.chunks_kept += wrote.kept
        report.chunks_removed += wrote.removed
        self._bytes += sum(pending.file.size for pending in self._pending)
        self._pending, self._waiting = [], 0
        self._tell(Progress(report.files, self._bytes, report.chunks_added))

    def _embed(self, texts: list[str]) -> np.ndarray:
        import numpy as np

        vectors = np.zeros((len(texts), self._embedder.dim), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        started = perf_counter()
        for begin in range(0, len(order), SLICE):
            part = order[begin : begin + SLICE]
            vectors[part] = self._embedder.embed([texts[at] for at in part])
            done = self._report.chunks_added + begin + len(part)
            self._tell(Progress(self._report.files, self._bytes, done))
        self._report.embedding_seconds += perf_counter() - started
        return vectors


def _parsed(
    files: Sequence[FileRef], split: Splitter
) -> Iterator[tuple[FileRef, _Parsed | Skipped]]:
    """Read and split files on another thread, a few ahead of the reader."""
    ready: queue.Queue[tuple[FileRef, _Parsed | Skipped] | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: tuple[FileRef, _Parsed | Skipped] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for file in files:
                if stop.is_set():
                    return
                put((file, _parse(file, split)))
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            put(error)

    thread = threading.Thread(target=work, name="rag-parse", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _parse(file: FileRef, split: Splitter) -> _Parsed | Skipped:
    try:
        data = file.path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return _Parsed(digest, split(load(file.path, data, file.name)))
    except LoadError as error:
        return Skipped(file.path, error.what)
    except OSError as error:
        return Skipped(file.path, f"cannot be read: {error.strerror}")
