"""Locks between processes, on files; the kernel releases them when their process dies."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Self

_BYTE = 2**30
"""Where Windows locks the file: beyond its text, since a locked byte cannot be read there."""


class FileLock:
    """An exclusive lock on a file, between processes and between threads.

    `with FileLock(path): ...` waits for it; `acquire(blocking=False)` does not. The lock file
    says who holds it, and stays behind unless `remove` is set.

    Args:
        path: The lock file, made if missing; its folder exists.
        remove: Delete the lock file at release.
    """

    def __init__(self, path: Path, *, remove: bool = False) -> None:
        self.path = path
        self._remove = remove
        self._file: int | None = None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock.

        Args:
            blocking: Wait until it is free.

        Returns:
            False if somebody else holds it, which happens only without `blocking`.

        Raises:
            OSError: The lock file cannot be made or opened for writing.
            RuntimeError: This object holds the lock already.
        """
        if self._file is not None:
            raise RuntimeError(f"{self.path} is locked by this object already")
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not _lock(file, blocking=blocking):
                    os.close(file)
                    return False
                # A holder that removes the file leaves whoever waited with a lock on nothing:
                # only the file that is there counts.
                if _is_at(file, self.path):
                    _write(file, str(os.getpid()))
                    self._file = file
                    return True
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def release(self) -> None:
        """Let others have the lock; does nothing if it is not held."""
        if self._file is None:
            return
        if self._remove:
            # Windows removes no file that is open; it stays, which does no harm.
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None

    def holder(self) -> str:
        """The process id that the lock file names, "unknown" if it names none."""
        try:
            return self.path.read_text(encoding="ascii").strip() or "unknown"
        except (OSError, ValueError):
            return "unknown"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _is_at(file: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _write(file: int, text: str) -> None:
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, f"{text}\n".encode())


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, *, blocking: bool) -> bool:
        while True:
            os.lseek(file, _BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            except OSError:
                if not blocking:
                    return False
                time.sleep(0.05)
            else:
                return True

else:
    import fcntl

    def _lock(file: int, *, blocking: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
