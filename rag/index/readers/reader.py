"""What a reader is: files of some content types to documents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.index.readers.file import MAX_BYTES, File
from rag.text.structure import Structure

Types = Mapping[str, tuple[str, ...]]
"""Content types, each with the endings that files of it have."""


class Reader(ABC):
    """Reads files of some content types.

    A package adds one by an entry point of the group `rag.readers` that names the class. It is
    made without arguments.

    Attributes:
        types: Content types that it reads, each with the endings that files of it have.
        apart: Whether it reads in a process of its own, with limits on time and memory. False
            only for what takes no more time and memory than the file's size, whatever is in it.
        max_bytes: Size of a file at most; None: it reads little by little, whatever the size.
        seconds: Of processor time that reading a file apart may take; twice as many may pass.
    """

    types: ClassVar[Types]
    apart: ClassVar[bool] = True
    max_bytes: ClassVar[int | None] = MAX_BYTES
    seconds: ClassVar[int] = 60

    @abstractmethod
    def read(self, file: File) -> Iterable[Document]:
        """The documents of a file: one for each page of a paged one, else one.

        Several documents without `page` are parts of a large file, which the index stores one by
        one; each but the first has a metadata `part` that names it.

        Args:
            file: Of one of `types`.

        Returns:
            Documents whose metadata may have `title`, `page` (from 1), whatever is known of the
            document, and the text's `Structure`. Texts are Markdown unless that says otherwise.

        Raises:
            LoadError: It cannot be read; the reason is short, for a table. Any other error
                counts as a broken file.
        """


def document(
    text: str, title: str | None = None, structure: Structure | None = None, **metadata: Any
) -> Document:
    """A document of a reader; metadata that are None or empty are left out."""
    known = {key: value for key, value in {"title": title, **metadata}.items() if value}
    if structure is not None:
        known |= structure.metadata()
    return Document(page_content=text, metadata=known)
