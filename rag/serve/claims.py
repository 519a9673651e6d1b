"""Which of the processes that share a server's folder are alive."""

from __future__ import annotations

import uuid
from pathlib import Path

from rag.locks import FileLock


class Claims:
    """Names under which processes claim work, and whether a process of a name lives.

    A process holds a lock on a file of its name, which the kernel releases when it dies: unlike
    a process id, a name is never another process's later.

    Args:
        folder: Holds the lock files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: FileLock | None = None
        self._name = f"worker-{uuid.uuid4().hex}"

    def hold(self) -> str:
        """The name of this process, its lock held from now on."""
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._folder / f"{self._name}.lock", remove=True)
            self._lock.acquire()
        return self._name

    def is_held(self, name: object) -> bool:
        """Whether the process of that name lives."""
        path = self._folder / f"{name}.lock"
        if not path.exists():
            return False
        lock = FileLock(path, remove=True)
        if not lock.acquire(blocking=False):
            return True
        lock.release()
        return False

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
