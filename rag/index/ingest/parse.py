"""From a file to its chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import TypeAlias

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.ingest.names import part_uri
from rag.index.readers.discover import FileRef
from rag.index.readers.read import read_file
from rag.index.readers.remote import local
from rag.text.chunk import Chunk

Splitter: TypeAlias = Callable[[Sequence[Document]], list[Chunk]]


@dataclass(frozen=True)
class Parsed:
    """A file's chunks, or those of a part of a large one, or why there are none.

    The first part of a file comes last, and only with it the file's digest: a file that was
    stopped in between counts as changed.

    Attributes:
        file: The file.
        uri: Of the file, or of the part.
        seconds: What it took.
        bytes: The share of the file's bytes.
        chunks: All of them.
        digest: Hash of the file's bytes and the way of splitting; "" for a part that is not the
            last one.
        parts: With the digest, the URIs of all further parts.
        is_table: Whether it may have had parts before.
        warnings: What could not be read.
        failure: Why it could not be read; "" if it could.
    """

    file: FileRef
    uri: str
    seconds: float
    bytes: int
    chunks: Sequence[Chunk] = ()
    digest: str = ""
    parts: Sequence[str] = ()
    is_table: bool = False
    warnings: Sequence[str] = ()
    failure: str = ""


def parse(file: FileRef, uri: str, split: Splitter, fingerprint: str) -> Iterator[Parsed]:
    """The parts of a file, the first one last.

    Args:
        file: As it was found.
        uri: Its name in the index.
        split: Documents to chunks.
        fingerprint: Of the settings of `split`.
    """
    started = perf_counter()
    warnings: list[str] = []
    first: Sequence[Chunk] = ()
    parts: list[str] = []
    is_table = False
    left = file.size
    try:
        with local(file) as here:
            digest = f"{_hash(here)}:{fingerprint}"
            for part, documents in groupby(read_file(here, warnings.append), key=_part):
                chunks = split([_whole(document) for document in documents])
                is_table = is_table or any(chunk.rows for chunk in chunks)
                if not part:
                    first = chunks
                    continue
                parts.append(part_uri(uri, part))
                size = min(left, sum(len(chunk.text) for chunk in chunks))
                left -= size
                yield Parsed(file, parts[-1], perf_counter() - started, size, chunks)
                started = perf_counter()
    except LoadError as error:
        yield Parsed(file, uri, perf_counter() - started, left, failure=error.what)
        return
    seconds = perf_counter() - started
    yield Parsed(file, uri, seconds, left, first, digest, parts, is_table, warnings)


def _part(document: Document) -> str:
    return str(document.metadata.get("part", ""))


def _whole(document: Document) -> Document:
    """The document without the name of its part, which its source says."""
    document.metadata.pop("part", None)
    return document


def _hash(file: FileRef) -> str:
    try:
        with file.path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from error
