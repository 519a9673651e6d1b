"""OpenDocument texts and presentations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import File
from rag.index.readers.packed import dublin_core, unpacked, xml_of
from rag.index.readers.reader import Reader, Types, document
from rag.index.readers.tables import markdown_table

_SPACE = re.compile(r"\s+")


def _name(tag: Any) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


class OdtReader(Reader):
    """OpenDocument texts, as Markdown, and presentations, a document for each slide."""

    types: ClassVar[Types] = {
        "application/vnd.oasis.opendocument.text": (".odt", ".ott"),
        "application/vnd.oasis.opendocument.presentation": (".odp", ".otp"),
    }

    def read(self, file: File) -> Iterable[Document]:
        """Headings, paragraphs, lists and tables, in their order."""
        data = file.data()
        parts = unpacked(data)
        if "content.xml" not in parts.namelist():
            raise LoadError("there is no text in it: it holds styles only")
        known = dublin_core(parts.read("meta.xml")) if "meta.xml" in parts.namelist() else {}
        root = xml_of(parts.read("content.xml"))
        body = None if root is None else root.find(".//{*}body")
        if body is None:
            raise LoadError("it is no OpenDocument: it has no body")
        pages = list(body.iter("{*}page"))
        if not pages:
            return [document(_joined(_blocks(body)), **known)]
        slides = enumerate((_joined(_blocks(page)) for page in pages), start=1)
        return [document(text, page=number, **known) for number, text in slides if text.strip()]


def _joined(blocks: Iterable[str]) -> str:
    return "\n\n".join(block for block in blocks if block.strip()) + "\n"


def _blocks(element: Any) -> Iterator[str]:
    for child in element:
        match _name(child.tag):
            case "h":
                level = min(int(child.get(_attribute(child, "outline-level"), "1") or 1), 6)
                yield f"{'#' * level} {_text(child)}"
            case "p":
                yield _text(child)
                yield from _frames(child)
            case "list":
                yield "\n".join(_list(child, 0))
            case "table":
                yield markdown_table(list(_rows(child)))
            case "tracked-changes" | "forms" | "annotation" | "sequence-decls" | "variable-decls":
                pass
            case "notes":
                yield f"Notes: {' '.join(_joined(_blocks(child)).split())}" if len(child) else ""
            case _:
                yield from _blocks(child)


def _frames(paragraph: Any) -> Iterator[str]:
    """Boxes of text that are anchored in a paragraph."""
    for box in paragraph.iter("{*}text-box"):
        yield from _blocks(box)


def _attribute(element: Any, name: str) -> str:
    return next((key for key in element.attrib if _name(key) == name), name)


def _list(element: Any, level: int) -> Iterator[str]:
    for item in element:
        for child in item:
            if _name(child.tag) == "list":
                yield from _list(child, level + 1)
            elif text := _text(child):
                yield f"{'  ' * level}- {text}"


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.iter("{*}table-row"):
        cells = [" ".join(filter(None, map(_text, cell))) for cell in row if len(cell)]
        if any(cells):
            yield cells


def _text(element: Any) -> str:
    """The text of a paragraph, with its footnotes in brackets, without boxes and comments."""
    parts = [element.text or ""]
    for child in element:
        match _name(child.tag):
            case "s" | "tab" | "line-break":
                parts.append(" ")
            case "note":
                body = child.find("{*}note-body")
                parts.append(f" [{' '.join(body.itertext()).strip()}]" if body is not None else "")
            case "annotation" | "frame" | "tracked-changes" | "bookmark":
                pass
            case _:
                parts.append(_text(child))
        parts.append(child.tail or "")
    text = "".join(parts)
    return _SPACE.sub(" ", text).strip() if _name(element.tag) in ("p", "h") else text
