"""What an ingest has to do: files compared with what the index has of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rag.index.index import Index
from rag.index.readers.discover import FileRef, Skipped, absolute, discover
from rag.text.surrogates import escape_surrogates


@dataclass(frozen=True)
class IngestPlan:
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


def plan(
    paths: Iterable[Path], index: Index | None, fingerprint: str, *, prune: bool = False
) -> IngestPlan:
    """Compare files with what the index has of them; none is read.

    A file counts as unchanged while its size and time of change are as they were, and its chunks
    were made with the same settings.

    Args:
        paths: Files and folders.
        index: None: there is none yet.
        fingerprint: Of the settings: see `rag.index.binding.IndexBinding.fingerprint`.
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
        uri = uri_of(found.path)
        there.add(uri)
        source = index.source(uri) if index else None
        same = source is not None and (source.size, source.mtime_ns) == (found.size, found.mtime_ns)
        if same and source is not None and source.digest.endswith(f":{fingerprint}"):
            unchanged += 1
        else:
            files.append(found)
    gone: list[str] = []
    if prune and index:
        roots = {uri_of(absolute(path)) for path in paths}
        kept = {uri_of(one.path) for one in skipped}
        for source in index.sources():
            above = {source.uri, *(parent.as_posix() for parent in Path(source.uri).parents)}
            if source.uri not in there and above & roots and not above & kept:
                gone.append(source.uri)
    return IngestPlan(files, unchanged, skipped, gone)


def uri_of(path: Path) -> str:
    """A file's name in the index; bytes that are no UTF-8 are escaped."""
    return escape_surrogates(path.as_posix())
