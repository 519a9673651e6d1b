"""Writing files so that a crash or a power cut leaves the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

PART = ".part"


def write_atomically(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Replace a file durably: at any moment it holds the old content or the new.

    Args:
        path: The file, made with its folder if missing. One that is there keeps its permissions.
        content: Text is written as UTF-8.
        private: The file is readable by its owner only.

    Raises:
        OSError: It cannot be written; the old content is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = stage(path, content, private=private)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file to write at length, which takes the place of `path` when all is written.

    Until then, and after an error, the old content is there.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def stage(path: Path, content: str | bytes, *, private: bool = False) -> Path:
    """Write the next content of a file durably to a hidden file beside it.

    For those who must replace the file at a moment of their own, such as inside a transaction.

    Args:
        path: The file, in a folder that is there. The permissions of one that is there are copied.
        content: Text is written as UTF-8.
        private: The file is readable by its owner only.

    Returns:
        The hidden file, whose name ends in `PART`: to be moved to `path`, or removed.

    Raises:
        OSError: It cannot be written; nothing of it is left.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600 if private else 0o666), "wb") as file:
            if not private:
                with contextlib.suppress(OSError):
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync(path: Path) -> None:
    """Wait until a file's content and its name are on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: new, renamed and removed ones.

    Windows opens no folders; there this does nothing.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def total_size(files: Iterable[Path]) -> int:
    """Bytes of the files; one that somebody removes meanwhile counts nothing."""
    total = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
