"""Discovery of files: each once, in a fixed order, and a reason for each that is skipped."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.errors import LoadError
from rag.index.local.database import FILE
from rag.index.readers.content_type import content_type
from rag.index.readers.registry import readers

NOISE = frozenset({"node_modules", "__pycache__", "venv"})

Seen = set[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file to ingest.

    Attributes:
        path: Absolute; of a file elsewhere its name.
        name: Relative to the folder that is searched, POSIX.
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch; of a file elsewhere a
            number that changes with it.
        url: Where it is, if it is on another file system.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int
    url: str = ""

    @property
    def place(self) -> Path | str:
        """Where it is, for people."""
        return self.url or self.path


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is skipped, and why."""

    path: Path | str
    reason: str


def discover(paths: Iterable[Path]) -> Iterator[FileRef | Skipped]:
    """The files under `paths`, folders walked in sorted order.

    Hidden files and folders, those of tools, and indexes are ignored, unless named. Each file
    comes once, even if links lead to it twice or in circles.
    """
    seen: Seen = set()
    for path in paths:
        root = absolute(path)
        yield from _visit(root, "", seen)


def absolute(path: Path) -> Path:
    """The path from the root of the file system, without `..`; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _visit(path: Path, name: str, seen: Seen) -> Iterator[FileRef | Skipped]:
    """The files at or below a path, which is called `name`; "": it was given by itself."""
    try:
        about = path.stat()
        if (about.st_dev, about.st_ino) in seen:
            return
        seen.add((about.st_dev, about.st_ino))
        if stat.S_ISDIR(about.st_mode):
            inside = sorted(os.listdir(path))  # noqa: PTH208 - as texts, which are sorted sooner
        else:
            yield _file(path, name or path.name, about)
            return
    except FileNotFoundError:
        yield Skipped(path, "there is no such file or folder")
        return
    except OSError as error:
        yield Skipped(path, f"cannot be opened: {error.strerror}")
        return
    if name and FILE in inside:
        return
    for entry in inside:
        if not entry.startswith(".") and entry not in NOISE:
            yield from _visit(path / entry, f"{name}/{entry}" if name else entry, seen)


def _file(path: Path, name: str, about: os.stat_result) -> FileRef | Skipped:
    if not stat.S_ISREG(about.st_mode):
        return Skipped(path, "not a regular file")
    if about.st_size == 0:
        return Skipped(path, "the file is empty")
    if not os.access(path, os.R_OK):
        return Skipped(path, "cannot be opened: Permission denied")
    try:
        reader = readers()[content_type(path.name, path)]
    except LoadError as error:
        return Skipped(path, error.what)
    if reader.max_bytes is not None and about.st_size > reader.max_bytes:
        size, limit = about.st_size / 2**20, reader.max_bytes // 2**20
        return Skipped(path, f"too large: {size:.0f} MB, the limit is {limit} MB")
    return FileRef(path, name, about.st_size, about.st_mtime_ns)
