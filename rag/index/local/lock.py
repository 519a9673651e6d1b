"""The lock that makes one process the writer of an index."""

from __future__ import annotations

from pathlib import Path

from rag.errors import IndexStateError
from rag.locks import FileLock


def writer_lock(folder: Path) -> FileLock:
    """The lock of an index, taken; the kernel releases it when this process dies.

    Args:
        folder: The index; it exists.

    Raises:
        IndexStateError: Another writer holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / "lock")
    try:
        taken = lock.acquire(blocking=False)
    except OSError as error:
        raise IndexStateError(
            f"the index cannot be written: {error.strerror}",
            where=str(folder),
            fix="allow writing to the folder, or choose another",
        ) from error
    if not taken:
        raise IndexStateError(
            f"another process writes to this index (pid {lock.holder()})",
            where=str(folder),
            fix="wait until it is done, or stop it",
        )
    return lock
