"""Lines of text files of any size, one at a time."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO, AnyStr

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
        opened.seek(0)
        if head.startswith(UTF_16):
            # What is read may end within a character.
            decode(codecs.getincrementaldecoder("utf-16")("replace").decode(head).encode())
            with io.TextIOWrapper(opened, encoding="utf-16", errors="replace", newline="") as text:
                yield from enumerate(_held(text, "\n"), start=1)
            return
        whole = head if len(head) < HEAD else head[: head.rfind(b"\n") + 1] or head
        decode(whole)
        encoding = encoding_of(whole)
        for number, line in enumerate(_held(opened, b"\n"), start=1):
            if line is not None and b"\0" in line:
                raise LoadError(f"not text: line {number} holds zero bytes")
            yield number, None if line is None else _decoded(line, encoding)


def _held(file: IO[AnyStr], end: AnyStr) -> Iterator[AnyStr | None]:
    """The lines of a file; None for one that is too long, which is never held as a whole."""
    while line := file.readline(LINE):
        if len(line) < LINE or line.endswith(end):
            yield line
            continue
        while (rest := file.readline(LINE)) and not rest.endswith(end):
            pass
        yield None


def _decoded(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode(USUAL, errors="replace")
