"""Filling an index from files: only what changed is read, only what is new is embedded.

Files are parsed on a thread of their own while the embedder works; what is in memory is bounded
by a window of chunks and the largest file, not by the corpus. Each window is one commit, so that
an ingest that was stopped, however, goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.filters import clean
from rag.index.index import Index
from rag.index.ingest.ahead import ahead
from rag.index.readers.discover import FileRef, Skipped, absolute, discover, read
from rag.index.readers.load import load
from rag.index.types import SourceUpdate
from rag.text.splitting import indexed_text

if TYPE_CHECKING:
    import numpy as np

    from rag.models import Embedder

WINDOW = 1024
"""Chunks that wait to be embedded together: sorted by length, they pad little."""
SLICE = 128
"""Chunks between two signs of progress."""
HELD = 4 * WINDOW
"""Chunks, new or not, that wait for a commit, and that are parsed ahead of the embedder."""

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


def plan(paths: Iterable[Path], index: Index | None, config: str, *, prune: bool = False) -> Plan:
    """Compare files with what the index has of them.

    A file counts as unchanged while its size and time of change are as they were, and it was
    split by the same `config`.

    Args:
        paths: Files and folders.
        index: None: there is none yet.
        config: Fingerprint of how chunks are made.
        prune: Find sources under `paths` whose file is gone. What cannot be looked at, a file
            or a folder that is skipped, is not gone.
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
        uri = _uri(found.path)
        there.add(uri)
        source = index.source(uri) if index else None
        same = source is not None and (source.size, source.mtime_ns) == (found.size, found.mtime_ns)
        if same and source is not None and source.digest.endswith(f":{config}"):
            unchanged += 1
        else:
            files.append(found)
    gone: list[str] = []
    if prune and index:
        roots = {_uri(absolute(path)) for path in paths}
        kept = {_uri(one.path) for one in skipped}
        for source in index.sources():
            above = {source.uri, *(parent.as_posix() for parent in Path(source.uri).parents)}
            if source.uri not in there and above & roots and not above & kept:
                gone.append(source.uri)
    return Plan(files, unchanged, skipped, gone)


def _uri(path: Path) -> str:
    """A file's name in the index; bytes that are no UTF-8 are escaped."""
    return clean(path.as_posix())


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
        split: Documents to chunks; called on a thread of its own.
        config: Fingerprint of `split`, as for `plan`.
        on_progress: Told after each slice of chunks and each commit.

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
    parse = partial(_parse, split=split, config=config)
    ready = ahead(parse, todo.files, weigh=lambda parsed: len(parsed.chunks), room=HELD)
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
    chunks: Sequence[Document] = ()
    failure: str = ""


def _parse(file: FileRef, *, split: Splitter, config: str) -> _Parsed:
    started = perf_counter()
    try:
        data = read(file)
        chunks = split(load(file.path, data, file.name))
    except LoadError as error:
        return _Parsed(file, perf_counter() - started, failure=error.what)
    digest = f"{hashlib.sha256(data).hexdigest()}:{config}"
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
        self._index, self._embedder = index, embedder
        self._report, self._tell = report, on_progress
        self._waiting: list[tuple[_Parsed, list[int]]] = []
        self._new = self._held = self._bytes = 0

    def add(self, parsed: _Parsed) -> None:
        """Take a file; when the window is full, embed and commit."""
        file, report = parsed.file, self._report
        report.parsing_seconds += parsed.seconds
        if parsed.failure:
            report.skipped.append(Skipped(file.path, parsed.failure))
            self._bytes += file.size
            return
        missing = self._index.missing(_uri(file.path), parsed.chunks)
        self._waiting.append((parsed, missing))
        self._new += len(missing)
        self._held += len(parsed.chunks)
        if self._new >= WINDOW or self._held >= HELD:
            self.commit()

    def commit(self) -> None:
        """Embed what is new of the files that wait, and commit them."""
        if not self._waiting:
            return
        report = self._report
        texts = [indexed_text(parsed.chunks[at]) for parsed, new in self._waiting for at in new]
        vectors = self._embed(texts)
        updates, start, same = [], 0, 0
        for parsed, new in self._waiting:
            file, uri, end = parsed.file, _uri(parsed.file.path), start + len(new)
            source = self._index.source(uri)
            same += source is not None and source.digest == parsed.digest
            updates.append(
                SourceUpdate(
                    uri, parsed.digest, file.size, file.mtime_ns, parsed.chunks, vectors[start:end]
                )
            )
            self._bytes += file.size
            start = end
        started = perf_counter()
        wrote = self._index.write(updates)
        report.writing_seconds += perf_counter() - started
        report.files += len(updates) - same
        report.unchanged += same
        report.chunks_added += wrote.added
        report.chunks_kept += wrote.kept
        report.chunks_removed += wrote.removed
        self._waiting, self._new, self._held = [], 0, 0
        self._tell(Progress(report.files, self._bytes, report.chunks_added))

    def _embed(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts, like lengths together, which pads least."""
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
