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
        try:
            self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise IndexStateError(
                f"the index cannot be written: {error.strerror}",
                where=str(folder),
                fix="allow writing to the folder, or choose another",
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise IndexStateError(
                f"another process writes to this index (pid {pid})",
                where=str(folder),
                fix="wait until it is done, or stop it",
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others write."""
        os.close(self._file)
