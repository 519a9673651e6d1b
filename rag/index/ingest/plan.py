"""What an ingest has to do: files compared with what the index has of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rag.index.index import Index
from rag.index.readers.discover import FileRef, Skipped, absolute, discover
from rag.index.types import Source
from rag.text.surrogates import escape_surrogates

LOOKED_UP = 1_000
"""Files that the index is asked about at a time."""


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
    for some in _batched(discover(paths)):
        here = {uri_of(one.path): one for one in some if isinstance(one, FileRef)}
        skipped += [one for one in some if isinstance(one, Skipped)]
        known = index.known(here) if index else {}
        there |= here.keys()
        changed = [
            file for uri, file in here.items() if not _same(file, known.get(uri), fingerprint)
        ]
        unchanged += len(here) - len(changed)
        files += changed
    gone: list[str] = []
    if prune and index:
        roots = {uri_of(absolute(path)) for path in paths}
        kept = {uri_of(one.path) for one in skipped}
        for source in index.sources():
            file = whole_uri(source.uri)
            above = {file, *(parent.as_posix() for parent in Path(file).parents)}
            if not {source.uri, file} & there and above & roots and not above & kept:
                gone.append(source.uri)
    return IngestPlan(files, unchanged, skipped, gone)


def _same(file: FileRef, source: Source | None, fingerprint: str) -> bool:
    return (
        source is not None
        and (source.size, source.mtime_ns) == (file.size, file.mtime_ns)
        and source.digest.endswith(f":{fingerprint}")
    )


def _batched(found: Iterable[FileRef | Skipped]) -> Iterator[list[FileRef | Skipped]]:
    rest = iter(found)
    while some := list(islice(rest, LOOKED_UP)):
        yield some


def uri_of(path: Path) -> str:
    """A file's name in the index; bytes that are no UTF-8 are escaped."""
    return escape_surrogates(path.as_posix())


PART = "#row="
"""What stands in the name of a part of a large table before its first row (as in RFC 7111)."""


def part_uri(uri: str, part: str) -> str:
    """The name of a part of a file in the index.

    Args:
        uri: Of the file.
        part: As readers name it: `row=4001`; "": how the names of all parts begin.
    """
    return f"{uri}#{part or PART[1:]}"


def whole_uri(uri: str) -> str:
    """The name of the file that a source is, or is a part of."""
    before, mark, row = uri.rpartition(PART)
    return before if mark and row.isdecimal() else uri
