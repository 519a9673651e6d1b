"""What an ingest has to do: files compared with what the index has of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from rag.index.index import Index
from rag.index.ingest.names import is_part, name_of, path_of, whole_uri
from rag.index.ingest.unread import load_unread
from rag.index.readers.discover import FileRef, Skipped, absolute, discover
from rag.index.readers.remote import canonical, discover_url, is_url
from rag.index.types import Source

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
        root: The folder that sources are named relative to.
    """

    files: list[FileRef]
    unchanged: int
    skipped: list[Skipped]
    gone: list[str]
    root: Path | None = None


def plan(
    paths: Iterable[Path | str],
    index: Index | None,
    fingerprint: str,
    *,
    prune: bool = False,
    root: Path | None = None,
) -> IngestPlan:
    """Compare files with what the index has of them; none is read.

    A file counts as unchanged while its size and time of change are as they were, and its chunks
    were made with the same settings. One that could not be read is not tried again before it
    changes.

    Args:
        paths: Files and folders; URLs of other file systems as text.
        index: None: there is none yet.
        fingerprint: Of the settings: see `rag.index.binding.IndexBinding.fingerprint`.
        prune: Find sources under `paths` whose file is gone. What cannot be looked at, a file
            or a folder that is skipped, is not gone; a path that is not there is gone if it
            was a file and its folder is there.
        root: The folder that sources are named relative to; None: by their absolute paths.
    """
    paths = list(paths)
    urls = [path.rstrip("/") for path in paths if isinstance(path, str) and is_url(path)]
    folders = [Path(path) for path in paths if not is_url(path)]
    everything = chain(discover(folders), *(discover_url(url) for url in urls))
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    unread = load_unread(index.folder) if index else {}
    unchanged = 0
    there: set[str] = set()
    for some in _batched(everything):
        here = {name_of(one, root): one for one in some if isinstance(one, FileRef)}
        skipped += [one for one in some if isinstance(one, Skipped)]
        known = index.known(here) if index else {}
        there |= here.keys()
        changed = [
            file for uri, file in here.items() if not _same(file, known.get(uri), fingerprint)
        ]
        unchanged += len(here) - len(changed)
        for file in changed:
            known_bad = unread.get(name_of(file, root))
            if known_bad is not None and known_bad.is_of(file):
                skipped.append(Skipped(file.place, known_bad.reason))
            else:
                files.append(file)
    gone: list[str] = []
    if prune and index:
        roots = {absolute(path) for path in folders}
        kept = {one.path for one in skipped}
        listed = tuple(f"{canonical(url)}/" for url in urls if url not in kept)
        for source in index.sources():
            whole = whole_uri(source.uri)
            if whole.startswith(listed) and not {source.uri, whole} & {*there, *kept}:
                gone.append(source.uri)
            place = path_of(source.uri, root if source.digest or is_part(source.uri) else None)
            if place is None or {source.uri, whole_uri(source.uri)} & there:
                continue
            above = {place, *place.parents}
            if above & roots and (not above & kept or (above & kept == {place} and _gone(place))):
                gone.append(source.uri)
    return IngestPlan(files, unchanged, skipped, gone, root)


def _gone(path: Path) -> bool:
    """Whether a file is gone, and not the disk or the folder that it was in."""
    try:
        path.lstat()
    except FileNotFoundError:
        return path.parent.is_dir()
    except OSError:
        return False
    return False


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
