"""Entries as files in a folder: written whole or not at all, put aside when they are wrong."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from rag.kvcache.store.base import Corrupt, Entry
from rag.kvcache.store.codec import pack, read
from rag.kvcache.store.quantize import dequantize, quantize

ENDING = ".safetensors"


class Files:
    """A folder of entries, two letters of the key deep.

    Args:
        folder: Made if need be.
        int8: Keep new entries quantized.
    """

    def __init__(self, folder: Path, *, int8: bool = False) -> None:
        self.folder, self.int8 = folder, int8
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._verified: set[tuple[str, int, int]] = set()
        """Key, inode and time of the files whose digest was computed in this process."""

    def path(self, key: str) -> Path:
        """Where the entry is, or would be."""
        return self.folder / key[:2] / f"{key}{ENDING}"

    def write(self, key: str, entry: Entry) -> int:
        """Write an entry; returns its bytes.

        Raises:
            OSError: It could not be written; nothing is left of it.
        """
        data = pack(key, quantize(entry) if self.int8 else entry)
        path = self.path(key)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        temporary = path.parent / f".{secrets.token_hex(8)}.part"
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            finally:
                os.close(file)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        return len(data)

    def read(self, key: str, *, again: bool = False) -> Entry | None:
        """Read an entry; its digest is computed the first time that this process sees the file.

        Args:
            key: The entry's.
            again: Compute it in any case.

        Raises:
            Corrupt: It is not what was written; the file is in `quarantine` now.
        """
        path = self.path(key)
        try:
            stat = path.stat()
            seen = (key, stat.st_ino, stat.st_mtime_ns)
            entry = read(key, path, check=again or seen not in self._verified)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Corrupt(str(error)) from error
        except Corrupt:
            self.quarantine(key)
            raise
        self._verified.add(seen)
        return dequantize(entry)

    def quarantine(self, key: str) -> None:
        """Put a wrong file aside, for whoever wants to look at it."""
        aside = self.folder / "quarantine"
        aside.mkdir(exist_ok=True, mode=0o700)
        with contextlib.suppress(OSError):
            self.path(key).replace(aside / f"{key}.{secrets.token_hex(4)}{ENDING}")

    def delete(self, key: str) -> None:
        """Remove a file."""
        self.path(key).unlink(missing_ok=True)

    def found(self) -> Iterator[tuple[str, os.stat_result]]:
        """Key and facts of every file."""
        for path in self.folder.glob(f"[0-9a-f][0-9a-f]/*{ENDING}"):
            with contextlib.suppress(FileNotFoundError):  # another process evicts
                yield path.name.removesuffix(ENDING), path.stat()
