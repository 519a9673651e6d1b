"""Reading a file into documents, by what is in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePath

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.apart import read_apart
from rag.index.readers.content_type import content_type
from rag.index.readers.discover import FileRef
from rag.index.readers.file import File
from rag.index.readers.reader import Reader
from rag.index.readers.registry import readers
from rag.text.structure import Structure
from rag.text.surrogates import escape_surrogates

_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)


def _ignore(text: str) -> None:
    """Take a warning, and do nothing with it."""


def read_file(file: FileRef, warn: Callable[[str], None] = _ignore) -> Iterator[Document]:
    """The documents in a file: one per page of a paged one, parts of a large table, else one.

    Formats whose parsers a file may mislead are read in another process, within limits of time
    and memory.

    Args:
        file: As it was found.
        warn: Called with what could not be read of it.

    Returns:
        Documents with `path` and `title` in their metadata, and what their reader gives. Their
        text is Markdown unless the `Structure` in their metadata says otherwise.

    Raises:
        LoadError: It is gone, was changed since it was found, or cannot be read; the reason is
            short, for a table.
    """
    _refuse_changed(file)
    reader = _reader(file.path, file.name)
    if reader.apart:
        documents: Iterable[Document] = read_apart(file.path, file.name, reader.seconds, warn)
    else:
        documents = read_here(file.path, file.name, warn)
    yield from documents
    _refuse_changed(file)


def read_here(path: Path, name: str, warn: Callable[[str], None] = _ignore) -> Iterator[Document]:
    """As `read_file`, in this process and without limits, whatever has become of the file."""
    reader = _reader(path, name)
    kind = content_type(path.name, path)
    file = File(name, kind, path, warn, nested=partial(_nested, warn=warn))
    first_title: str | None = None
    for document in _read(reader, file):
        if first_title is None:
            first_title = _title(document, name)
        title = document.metadata.get("title") or first_title
        # Lone surrogates, from file names and JSON, are no Unicode to tokenizers and databases.
        document.page_content = escape_surrogates(document.page_content)
        document.metadata |= {"path": escape_surrogates(name), "title": escape_surrogates(title)}
        yield document
    if first_title is None:
        raise LoadError("there is no text in it", where=name)


def _reader(path: Path, name: str) -> Reader:
    try:
        return readers()[content_type(path.name, path)]
    except LoadError as error:
        raise LoadError(error.what, where=name) from error


def _read(reader: Reader, file: File) -> Iterator[Document]:
    """Documents that have text; whatever the reader raises is a LoadError."""
    try:
        for document in reader.read(file):
            if document.page_content.strip():
                yield document
    except LoadError as error:
        raise LoadError(error.what, where=file.name) from error
    except (MemoryError, RecursionError) as error:
        raise LoadError("reading it takes too much memory", where=file.name) from error
    except Exception as error:  # the parsers raise of every kind
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        kind = PurePath(file.name).suffix[1:] or type(reader).__name__.removesuffix("Reader")
        raise LoadError(f"broken {kind.upper()}: {reason}", where=file.name) from error


def _nested(name: str, data: bytes, depth: int, warn: Callable[[str], None]) -> list[Document]:
    """The documents of a file in another one."""
    kind = content_type(name, data)
    file = File(name, kind, data, warn, depth, partial(_nested, warn=warn))
    return list(_read(readers()[kind], file))


def _title(document: Document, name: str) -> str:
    """What the format's reader found, the first heading, or the file's name."""
    found = str(document.metadata.get("title", ""))
    if not found and Structure.of(document.metadata).markup == "markdown":
        heading = _HEADING.search(document.page_content)
        found = heading.group(1) if heading else ""
    return found or PurePath(name).stem


def _refuse_changed(file: FileRef) -> None:
    try:
        about = os.stat(file.path)  # noqa: PTH116 - Path.stat is the same, slower
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}", where=file.name) from error
    if (about.st_size, about.st_mtime_ns) != (file.size, file.mtime_ns):
        raise LoadError("changed while it was ingested; ingest it again", where=file.name)
