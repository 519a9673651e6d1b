"""Finding files: every file once, in a fixed order, and a reason for each that is left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.index.loading.load import loadable

MAX_BYTES = 20 * 2**20
"""Larger files are data rather than documents, and would not fit a bounded memory."""
NOISE = frozenset({"node_modules", "__pycache__", "venv", "build", "dist"})


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file to ingest.

    Attributes:
        path: Absolute.
        name: Relative to the folder that was asked for, POSIX.
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is left out, and why."""

    path: Path
    reason: str


def discover(paths: Iterable[Path]) -> Iterator[FileRef | Skipped]:
    """The files under `paths`, folders walked in sorted order.

    Hidden files and folders, and those that tools make, are passed over in silence, unless
    named. Each file comes once, even where links lead to it twice.
    """
    seen: set[tuple[int, int]] = set()
    for path in paths:
        root = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        if not os.path.lexists(root):
            yield Skipped(root, "there is no such file or folder")
        elif root.is_dir():
            yield from _walk(root, root, seen)
        else:
            yield from _file(root, root.name, seen)


def _walk(folder: Path, root: Path, seen: set[tuple[int, int]]) -> Iterator[FileRef | Skipped]:
    try:
        about = folder.stat()
        if (about.st_dev, about.st_ino) in seen:
            yield Skipped(folder, "a link to a folder that is being read already")
            return
        seen.add((about.st_dev, about.st_ino))
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield Skipped(folder, f"cannot be opened: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in NOISE:
            continue
        if entry.is_dir():
            yield from _walk(entry, root, seen)
        else:
            yield from _file(entry, entry.relative_to(root).as_posix(), seen)


def _file(path: Path, name: str, seen: set[tuple[int, int]]) -> Iterator[FileRef | Skipped]:
    try:
        about = path.stat()
    except OSError as error:
        yield Skipped(path, f"cannot be opened: {error.strerror}")
        return
    key = (about.st_dev, about.st_ino)
    if key in seen:
        return
    seen.add(key)
    if not path.is_file():
        yield Skipped(path, "not a regular file")
    elif not loadable(path):
        yield Skipped(path, f"unknown file type {path.suffix or '(no ending)'}")
    elif about.st_size == 0:
        yield Skipped(path, "the file is empty")
    elif about.st_size > MAX_BYTES:
        size, limit = about.st_size / 2**20, MAX_BYTES // 2**20
        yield Skipped(path, f"too large: {size:.0f} MB, the limit is {limit} MB")
    elif not os.access(path, os.R_OK):
        yield Skipped(path, "cannot be opened: Permission denied")
    else:
        yield FileRef(path, name, about.st_size, about.st_mtime_ns)
