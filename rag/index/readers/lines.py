"""Lines of text files of any size, one at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rag.errors import LoadError
from rag.index.readers.decode import USUAL, UTF_16, decode, encoding_of
from rag.index.readers.file import File

LINE = 16 * 2**20
"""Bytes of a line that are held; a longer one is left out."""
HEAD = 2**20
"""Bytes that the encoding is found by."""


def lines_of(file: File) -> Iterator[tuple[int, str | None]]:
    """Number, from 1, and text of each line with its end; None: it is too long.

    Raises:
        LoadError: It is no text, or its encoding is unknown.
    """
    with file.open() as opened:
        head = opened.read(HEAD)
        whole = head if len(head) < HEAD else head[: head.rfind(b"\n") + 1] or head
        decode(whole)
        opened.seek(0)
        if head.startswith(UTF_16):
            with io.TextIOWrapper(opened, encoding="utf-16", errors="replace", newline="") as text:
                yield from enumerate(text, start=1)
            return
        encoding = encoding_of(whole)
        number = 0
        while line := opened.readline(LINE):
            number += 1
            if len(line) == LINE and not line.endswith(b"\n"):
                while (rest := opened.readline(LINE)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
                continue
            if b"\0" in line:
                raise LoadError(f"not text: line {number} holds zero bytes")
            yield number, _decoded(line, encoding)


def _decoded(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode(USUAL, errors="replace")
