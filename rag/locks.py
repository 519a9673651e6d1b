"""The lock that makes one process the writer; the kernel frees it when that process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from rag.errors import IndexStateError


class WriterLock:
    """An exclusive lock on `folder/lock`, held from construction until `release`.

    Args:
        folder: The index; it exists.

    Raises:
        IndexStateError: Another writer holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        try:
            file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise IndexStateError(
                f"the index cannot be written: {error.strerror}",
                where=str(folder),
                fix="allow writing to the folder, or choose another",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise IndexStateError(
                f"another process writes to this index (pid {pid})",
                where=str(folder),
                fix="wait until it is done, or stop it",
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let others write; a second call does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
