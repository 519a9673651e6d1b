"""Word documents."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import ClassVar

from langchain_core.documents import Document

from rag.index.readers.file import File
from rag.index.readers.formats.html import as_markdown, parsed
from rag.index.readers.packed import core_properties, unpacked
from rag.index.readers.reader import Reader, Types, document


class DocxReader(Reader):
    """Word documents, as Markdown: with headings, lists and tables."""

    types: ClassVar[Types] = {
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
            ".docx",
            ".docm",
            ".dotx",
        )
    }

    def read(self, file: File) -> Iterable[Document]:
        """The document, as Markdown."""
        import mammoth

        data = file.data()
        known = core_properties(unpacked(data))
        # Images would become base64 text.
        converted = mammoth.convert_to_html(
            io.BytesIO(data),
            style_map="p[style-name='Title'] => h1:fresh",
            convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
        )
        return [document(as_markdown(parsed(converted.value)), **known)]
