"""Checksums of what an index stores: XXH3, 64 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def checksum(*fields: str | bytes | int) -> int:
    """The checksum of fields, as SQLite's integer; no two lists of fields are joined alike."""
    from xxhash import xxh3_64

    parts = [field if isinstance(field, bytes) else str(field).encode() for field in fields]
    lengths = ",".join(str(len(part)) for part in parts)
    return _signed(xxh3_64(b"".join([lengths.encode(), b";", *parts])).intdigest())


def of_vectors(vectors: np.ndarray) -> int:
    """The checksum of float32 [n, dim], as SQLite's integer."""
    import numpy as np
    from xxhash import xxh3_64

    return _signed(xxh3_64(np.ascontiguousarray(vectors).data).intdigest())


def of_file(path: Path) -> int:
    """The checksum of a file, as SQLite's integer.

    Raises:
        OSError: It cannot be read.
    """
    from xxhash import xxh3_64

    digest = xxh3_64()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return _signed(digest.intdigest())


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
