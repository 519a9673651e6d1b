"""Files as the corpus of a data set that has questions only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.index.readers.discover import FileRef, discover
from rag.index.readers.read import read_file


def read_documents(paths: Iterable[Path]) -> list[Document]:
    """The documents in files and folders, named by their paths below these.

    Raises:
        ConfigError: There are none.
        LoadError: A file cannot be read.
    """
    found: list[Document] = []
    listed = list(paths)
    for file in discover(listed):
        if not isinstance(file, FileRef):
            continue
        for number, one in enumerate(read_file(file)):
            metadata = {**one.metadata, "source": file.name, "path": file.name}
            name = f"{file.name}#{number}" if number else file.name
            found.append(Document(one.page_content, id=name, metadata=metadata))
    if not found:
        fix = "name files or folders that `rag ingest` can read"
        where = "--documents " + ", ".join(map(str, listed))
        raise ConfigError("there are no documents", where=where, fix=fix)
    return found
