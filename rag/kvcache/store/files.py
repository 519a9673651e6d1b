"""Entries as files in a folder: written whole or not at all, quarantined when they are corrupt."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from rag.files import PART, stage
from rag.kvcache.store.base import Corrupt, Entry, OtherVersion
from rag.kvcache.store.codec import pack, read, unpack
from rag.kvcache.store.quantize import Storage, dequantize, quantize

ENDING = ".safetensors"
_ABANDONED = 3600.0
"""Seconds after which an unfinished file belongs to a process that died."""
_KEY = re.compile(r"[0-9a-f]{64}")


class Files:
    """A folder of entries, in subfolders by the first two letters of the key.

    Args:
        folder: Made if missing.
        storage: The form of new entries (`quantize.Storage`).
        mapped: Map files instead of reading them. Not for network folders: where another machine
            removes a file that is mapped, the next access to its pages kills the process.
    """

    def __init__(self, folder: Path, storage: Storage = "as is", *, mapped: bool = True) -> None:
        self.folder, self.storage, self._mapped = folder, storage, mapped
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._verified: dict[str, tuple[int, int, int]] = {}
        """Key to inode, time and size of the files whose digest this process has computed."""
        for part in folder.glob(f"[0-9a-f][0-9a-f]/.*{PART}"):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < time.time() - _ABANDONED:
                    part.unlink()

    def path(self, key: str) -> Path:
        """Where the entry is, or would be."""
        return self.folder / key[:2] / f"{key}{ENDING}"

    def stage(self, key: str, entry: Entry) -> tuple[Path, int]:
        """Write an entry beside its place.

        Returns:
            The file, to be given to `place` or `discard`, and its size in bytes.

        Raises:
            OSError: It could not be written; nothing of it is left.
            ValueError: See `codec.pack`.
        """
        data = pack(key, quantize(entry, self.storage))
        path = self.path(key)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        return stage(path, data, private=True), len(data)

    def place(self, key: str, staged: Path) -> None:
        """Move a staged file to its place, over what is there.

        The folder is not synced: an entry that a power cut loses is computed again.

        Raises:
            OSError: It could not be moved; nothing of it is left.
        """
        try:
            facts = _facts(staged)
            staged.replace(self.path(key))
        except BaseException:
            self.discard(staged)
            raise
        self._verified[key] = facts

    @staticmethod
    def discard(staged: Path) -> None:
        """Remove a staged file."""
        with contextlib.suppress(OSError):
            staged.unlink()

    def read(self, key: str, *, verify: bool = False) -> Entry | None:
        """Read an entry; its digest is computed the first time that this process sees the file.

        A file of another version is as good as none, and is left alone: on a shared folder,
        machines may run different versions for a while.

        Args:
            key: The entry's.
            verify: Compute the digest in any case.

        Returns:
            The entry; None if there is no file.

        Raises:
            Corrupt: It is not what was written; the file is in `quarantine` now.
            OSError: The disk does not give it.
        """
        path = self.path(key)
        try:
            while True:
                before = _facts(path)
                try:
                    entry = self._read(key, check=verify or self._verified.get(key) != before)
                except Corrupt:
                    if _facts(path) == before:
                        raise
                else:
                    if _facts(path) == before:
                        break
                # Another process removed or wrote it meanwhile, so it may be half of each.
        except (FileNotFoundError, OtherVersion):
            self._verified.pop(key, None)
            return None
        except Corrupt:
            self.quarantine(key)
            raise
        self._verified[key] = before
        return entry

    def _read(self, key: str, *, check: bool) -> Entry:
        path = self.path(key)
        if self._mapped:
            return dequantize(read(key, path, check=check))
        return dequantize(unpack(key, path.read_bytes(), check=check))

    def touch(self, key: str, interval: float) -> None:
        """Note a use in the file's access time, unless one was noted within so many seconds.

        The time of the last change stays, so that the file need not be verified again.
        """
        with contextlib.suppress(OSError):
            path = self.path(key)
            stat, now = path.stat(), time.time_ns()
            if last_used(stat) < now - interval * 1e9:
                os.utime(path, ns=(now, stat.st_mtime_ns))

    def quarantine(self, key: str) -> None:
        """Move a corrupt file into `quarantine`, where it can be looked at."""
        self._verified.pop(key, None)
        aside = self.folder / "quarantine"
        with contextlib.suppress(OSError):
            aside.mkdir(exist_ok=True, mode=0o700)
            self.path(key).replace(aside / f"{key}.{secrets.token_hex(4)}{ENDING}")

    def delete(self, key: str) -> None:
        """Remove a file."""
        self._verified.pop(key, None)
        self.path(key).unlink(missing_ok=True)

    def entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Key and status of every file; files of other names are left alone."""
        for path in self.folder.glob(f"[0-9a-f][0-9a-f]/*{ENDING}"):
            key = path.name.removesuffix(ENDING)
            if _KEY.fullmatch(key) and key[:2] == path.parent.name:
                with contextlib.suppress(FileNotFoundError):  # another process evicts
                    yield key, path.stat()


def _facts(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def last_used(stat: os.stat_result) -> int:
    """When a file was written or last read, whichever is later: nanoseconds since the epoch."""
    return max(stat.st_mtime_ns, stat.st_atime_ns)
