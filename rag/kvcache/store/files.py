"""Entries as files in a folder: written whole or not at all, put aside when they are wrong."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from rag.kvcache.store.base import Corrupt, Entry
from rag.kvcache.store.codec import pack, read, unpack
from rag.kvcache.store.quantize import dequantize, quantize

ENDING = ".safetensors"
_PART = ".part"
_ABANDONED = 3600.0
"""Seconds after which a file that is still unfinished is a dead process's."""
_KEY = re.compile(r"[0-9a-f]{64}")


class Files:
    """A folder of entries, two letters of the key deep.

    Args:
        folder: Made if need be.
        int8: Keep new entries quantized.
        mapped: Map files instead of reading them. Over a network it is no good: where another
            machine removes a file that is mapped, the next look at its pages kills the process.
    """

    def __init__(self, folder: Path, *, int8: bool = False, mapped: bool = True) -> None:
        self.folder, self.int8, self._mapped = folder, int8, mapped
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._verified: dict[str, tuple[int, int, int]] = {}
        """Key to inode, time and size of the files whose digest this process has computed."""
        for part in folder.glob(f"[0-9a-f][0-9a-f]/.*{_PART}"):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < time.time() - _ABANDONED:
                    part.unlink()

    def path(self, key: str) -> Path:
        """Where the entry is, or would be."""
        return self.folder / key[:2] / f"{key}{ENDING}"

    def stage(self, key: str, entry: Entry) -> tuple[Path, int]:
        """Write an entry beside its place; the path, to be given to `place`, and its bytes.

        Raises:
            OSError: It could not be written; nothing is left of it.
            ValueError: See `codec.pack`.
        """
        data = pack(key, quantize(entry) if self.int8 else entry)
        path = self.path(key)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        temporary = path.parent / f".{secrets.token_hex(8)}{_PART}"
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            finally:
                os.close(file)
        except BaseException:
            self.discard(temporary)
            raise
        return temporary, len(data)

    def place(self, key: str, temporary: Path) -> None:
        """Put what was staged in its place, over what is there.

        Raises:
            OSError: It could not be moved; nothing is left of it.
        """
        try:
            temporary.replace(self.path(key))
        except BaseException:
            self.discard(temporary)
            raise

    @staticmethod
    def discard(temporary: Path) -> None:
        """Remove what was staged."""
        with contextlib.suppress(OSError):
            temporary.unlink()

    def read(self, key: str, *, again: bool = False) -> Entry | None:
        """Read an entry; its digest is computed the first time that this process sees the file.

        Args:
            key: The entry's.
            again: Compute it in any case.

        Raises:
            Corrupt: It is not what was written; the file is in `quarantine` now.
            OSError: The disk does not give it.
        """
        try:
            before = self._facts(key)
            entry = self._read(key, check=again or self._verified.get(key) != before)
            if self._facts(key) != before:  # another process wrote it meanwhile: which was read?
                before = self._facts(key)
                entry = self._read(key, check=True)
        except FileNotFoundError:
            self._verified.pop(key, None)
            return None
        except Corrupt:
            self.quarantine(key)
            raise
        self._verified[key] = before
        return entry

    def _facts(self, key: str) -> tuple[int, int, int]:
        stat = self.path(key).stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self, key: str, *, check: bool) -> Entry:
        path = self.path(key)
        if self._mapped:
            return dequantize(read(key, path, check=check))
        return dequantize(unpack(key, path.read_bytes(), check=check))

    def quarantine(self, key: str) -> None:
        """Put a wrong file aside, for whoever wants to look at it."""
        self._verified.pop(key, None)
        aside = self.folder / "quarantine"
        with contextlib.suppress(OSError):
            aside.mkdir(exist_ok=True, mode=0o700)
            self.path(key).replace(aside / f"{key}.{secrets.token_hex(4)}{ENDING}")

    def delete(self, key: str) -> None:
        """Remove a file."""
        self._verified.pop(key, None)
        self.path(key).unlink(missing_ok=True)

    def found(self) -> Iterator[tuple[str, os.stat_result]]:
        """Key and facts of every file; files of other names are not ours."""
        for path in self.folder.glob(f"[0-9a-f][0-9a-f]/*{ENDING}"):
            key = path.name.removesuffix(ENDING)
            if _KEY.fullmatch(key) and key[:2] == path.parent.name:
                with contextlib.suppress(FileNotFoundError):  # another process evicts
                    yield key, path.stat()
