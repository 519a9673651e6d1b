"""Rich Text Format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import MAX_TEXT_BYTES, File
from rag.index.readers.reader import Reader, Types, document
from rag.text.structure import PLAIN


class RtfReader(Reader):
    """Rich Text Format, as plain text."""

    types: ClassVar[Types] = {"application/rtf": (".rtf",), "text/rtf": ()}
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The text; tables keep a line for each row."""
        from striprtf.striprtf import rtf_to_text

        data = file.data()
        if not data.lstrip().startswith(b"{\\rtf"):
            raise LoadError("it is no RTF")
        text = rtf_to_text(data.decode("latin-1"), errors="replace")
        return [document(text.replace("\r\n", "\n").strip() + "\n", structure=PLAIN)]
