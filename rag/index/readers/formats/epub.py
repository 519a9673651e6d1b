"""Electronic books."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import ClassVar
from urllib.parse import unquote

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import File
from rag.index.readers.formats.html import content_of, parsed
from rag.index.readers.packed import dublin_core, unpacked, xml_of
from rag.index.readers.reader import Reader, Types, document

_CONTAINER = "META-INF/container.xml"


class EpubReader(Reader):
    """EPUB books, as Markdown: the chapters in the order of reading.

    A book is a ZIP file of web pages and a list of them (EPUB 3.3, W3C, section 5), so that the
    reader of web pages reads it.
    """

    types: ClassVar[Types] = {"application/epub+zip": (".epub",)}

    def read(self, file: File) -> Iterable[Document]:
        """The book as one document."""
        parts = unpacked(file.data())
        names = set(parts.namelist())
        if _CONTAINER not in names:
            raise LoadError("it is no EPUB: it has no container.xml")
        root = xml_of(parts.read(_CONTAINER))
        package = next((one.get("full-path") for one in root.iter("{*}rootfile")), None)
        if package not in names:
            raise LoadError("it is no EPUB: its package document is missing")
        opf = parts.read(package)
        folder = posixpath.dirname(package)
        texts = []
        for href in _spine(opf):
            name = posixpath.normpath(posixpath.join(folder, unquote(href)))
            if name in names:
                texts.append(content_of(parsed(parts.read(name))))
            else:
                file.warn(f"a chapter is missing in it: {name}")
        return [document("\n".join(text for text in texts if text.strip()), **dublin_core(opf))]


def _spine(opf: bytes) -> Iterator[str]:
    root = xml_of(opf)
    files = {one.get("id"): one.get("href", "") for one in root.iter("{*}item")}
    for one in root.iter("{*}itemref"):
        href = files.get(one.get("idref"))
        if href:
            yield href
