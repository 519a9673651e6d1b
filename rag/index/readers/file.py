"""A file, or a part of one, as readers get it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from langchain_core.documents import Document

from rag.errors import LoadError

MAX_BYTES = 100 * 2**20
"""A file that is read whole and is larger would not fit a bounded memory."""
MAX_TEXT_BYTES = 20 * 2**20
"""The same where all of it is text: what is larger is data rather than a document."""
MAX_DEPTH = 3
"""Files within files: an attachment of a letter that is attached to a letter."""


@dataclass(frozen=True)
class File:
    """What a reader reads.

    Attributes:
        name: What citations call it.
        content_type: Such as `application/pdf`.
        content: Where it is, or its bytes.
        warn: Called with what could not be read of it, in one sentence.
        depth: In how many other files it is.
        nested: Reads a file that is in this one, given its name, its bytes and its depth.
    """

    name: str
    content_type: str
    content: Path | bytes
    warn: Callable[[str], None] = field(default=lambda text: None)
    depth: int = 0
    nested: Callable[[str, bytes, int], list[Document]] = field(default=lambda *given: [])

    def data(self) -> bytes:
        """All of its bytes.

        Raises:
            LoadError: There are too many.
        """
        with self.open() as file:
            found = file.read(MAX_BYTES + 1)
        if len(found) > MAX_BYTES:
            raise LoadError(f"too large: the limit is {MAX_BYTES // 2**20} MB", where=self.name)
        return found

    def open(self) -> BinaryIO:
        """Its bytes, from the beginning."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        return self.content.open("rb")

    def within(self, name: str, data: bytes) -> list[Document]:
        """The documents of a file that is in this one.

        Raises:
            LoadError: It cannot be read, or files are in files too often.
        """
        if self.depth >= MAX_DEPTH:
            raise LoadError(f"files within files, more than {MAX_DEPTH} deep", where=self.name)
        return self.nested(name, data, self.depth + 1)
