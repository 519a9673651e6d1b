"""Files on other file systems, by fsspec: `s3://bucket/docs`, `gs://`, `memory://`, `https://`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from rag.errors import LoadError
from rag.extras import require
from rag.index.readers.content_type import by_name
from rag.index.readers.discover import NOISE, FileRef, Skipped
from rag.index.readers.registry import readers

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems call the time of a file's last change."""
_TAGS = ("etag", "ETag", "md5Hash")
"""What they call a digest of its content, where they tell no time."""


def is_url(path: Path | str) -> bool:
    """Whether a path is of another file system; what `Path` makes of a URL is none."""
    return isinstance(path, str) and _URL.match(path) is not None


def discover_url(url: str) -> Iterator[FileRef | Skipped]:
    """The files under a URL, in sorted order; hidden ones, and those of tools, are ignored.

    What a file is is known by its name: nothing is fetched. One without an ending is skipped.

    Raises:
        ConfigError: fsspec, or what it needs for this file system, is not installed.
    """
    try:
        system, root = _system(url)
        found: dict[str, Any] = system.find(root, detail=True)
    except (OSError, ValueError, RuntimeError) as error:
        yield Skipped(url, f"cannot be listed: {' '.join(str(error).split())[:120]}")
        return
    if not found:
        yield Skipped(url, "there is no such file or folder")
    for place, about in sorted(found.items()):
        inside = PurePosixPath(place).relative_to(PurePosixPath(root))
        name = inside.as_posix() if inside.parts else PurePosixPath(place).name
        if any(part.startswith(".") or part in NOISE for part in inside.parts):
            continue
        yield _file(str(system.unstrip_protocol(place)), name, about)


def canonical(url: str) -> str:
    """A URL as those of the files under it begin."""
    system, root = _system(url)
    return str(system.unstrip_protocol(root))


def _file(url: str, name: str, about: dict[str, Any]) -> FileRef | Skipped:
    size = int(about.get("size") or 0)
    kind = by_name(name)
    reader = readers().get(kind) if kind else None
    if reader is None:
        return Skipped(url, f"unknown file type {PurePosixPath(name).suffix or '(no ending)'}")
    if size == 0:
        return Skipped(url, "the file is empty")
    if reader.max_bytes is not None and size > reader.max_bytes:
        return Skipped(url, f"too large: the limit is {reader.max_bytes // 2**20} MB")
    return FileRef(Path(name), name, size, _changed(about), url)


def _changed(about: dict[str, Any]) -> int:
    """Nanoseconds since the epoch, or another number that changes with the file."""
    for key in _TIMES:
        value = about.get(key)
        if isinstance(value, datetime):
            return int(value.timestamp() * 1e9)
        if isinstance(value, int | float):
            return int(value * 1e9)
    state = next((str(about[key]) for key in (*_TAGS, *_TIMES) if about.get(key)), "")
    return int.from_bytes(hashlib.sha256(state.encode()).digest()[:7], "big")


@contextmanager
def local(file: FileRef) -> Iterator[FileRef]:
    """The file on this machine: as it is, or fetched for as long as the context lasts.

    Raises:
        LoadError: It cannot be fetched, or was changed since it was found.
    """
    if not file.url:
        yield file
        return
    with TemporaryDirectory(prefix="rag-") as folder:
        copy = Path(folder) / file.path.name
        try:
            system, place = _system(file.url)
            system.get_file(place, str(copy))
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise LoadError(f"cannot be fetched: {reason}", where=file.name) from error
        about = copy.stat()
        if about.st_size != file.size:
            raise LoadError("changed while it was ingested; ingest it again", where=file.name)
        yield FileRef(copy, file.name, about.st_size, about.st_mtime_ns)


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    core = require("fsspec.core", "fsspec", where=url)
    try:
        system, place = core.url_to_fs(url)
    except ImportError as error:  # such as s3fs, which fsspec names
        raise LoadError(f"{error}", where=url, fix="pip install what it names") from error
    return system, str(place).rstrip("/")
