"""PDFs: text, headings from the outline, tables between ruled lines."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import File
from rag.index.readers.formats.pdf_ocr import Ocr
from rag.index.readers.formats.pdf_tables import page_text
from rag.index.readers.reader import Reader, Types, document
from rag.text.structure import Structure

_LINE_BREAK_HYPHEN = re.compile(r"[\x02\ufffe]\n?")
_UNKNOWN = ("", "untitled", "anonymous", "unspecified")
"""What programs write where nobody said a title or an author."""
# PDFium must not be entered by two threads at once.
_pdfium = threading.Lock()

Entry = tuple[int, str]
"""Level, from 1, and title of an entry of the outline."""


class PdfReader(Reader):
    """PDFs: a document for each page that has text."""

    types: ClassVar[Types] = {"application/pdf": (".pdf",)}
    seconds = 300

    def read(self, file: File) -> Iterable[Document]:
        """Pages with `page`, `page_label` where that is another, and headings by the outline.

        Tables between ruled lines are Markdown. Pages without text are read by OCR if the extra
        `ocr` is installed.
        """
        import pypdfium2

        with _pdfium:
            try:
                opened = pypdfium2.PdfDocument(file.data())
            except pypdfium2.PdfiumError as error:
                locked = "password" in str(error).lower()
                raise LoadError("the PDF is encrypted" if locked else "broken PDF") from error
            try:
                return _documents(opened, file)
            finally:
                opened.close()


def _documents(opened: Any, file: File) -> list[Document]:
    outline = _outline(opened)
    ocr = Ocr()
    path: list[Entry] = []
    found: list[Document] = []
    for number in range(len(opened)):
        page = opened[number]
        text = _clean(page_text(page))
        by_ocr = False
        if not text:
            text = ocr.text(page)
            by_ocr = bool(text)
        if text:
            label = opened.get_page_label(number)
            known = {
                "page_label": label if label != str(number + 1) else None, "ocr": by_ocr,
                "author": _said(opened, "Author"),
            }  # fmt: skip
            headings = _headings(text, path, outline[number])
            found.append(
                document(text, None, Structure("none", headings), page=number + 1, **known)
            )
        path = _below(path, outline[number])
        page.close()
    if ocr.missed:
        if not found:
            raise LoadError(f"there is no text in it (scanned pages: {ocr.fix})")
        file.warn(f"{ocr.missed} of {len(opened)} pages are pictures: {ocr.fix}")
    title = _said(opened, "Title")
    if not title and found:
        title = found[0].page_content.split("\n", 1)[0][:120].strip("| ")
    for one in found:
        one.metadata |= {"title": title} if title else {}
    return found


def _said(opened: Any, key: str) -> str:
    """What a PDF's metadata say; "" where that is nothing."""
    text = str(opened.get_metadata_dict().get(key, "")).strip()
    return "" if text.strip("()").lower() in _UNKNOWN else text


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _LINE_BREAK_HYPHEN.sub("", text).replace("\0", "").strip()


def _outline(opened: Any) -> dict[int, list[Entry]]:
    """Page, from 0, to the entries of the outline that point to it, in order."""
    found: dict[int, list[Entry]] = defaultdict(list)
    for entry in opened.get_toc(max_depth=10):
        target = entry.get_dest()
        page = target.get_index() if target is not None else None
        title = " ".join((entry.get_title() or "").split())
        if page is not None and title:
            found[page].append((entry.level + 1, title))
    return found


def _below(path: list[Entry], entries: Iterable[Entry]) -> list[Entry]:
    """The path of headings behind some further ones."""
    for level, title in entries:
        path = [*(step for step in path if step[0] < level), (level, title)]
    return path


def _headings(
    text: str, path: list[Entry], entries: list[Entry]
) -> tuple[tuple[int, int, str], ...]:
    """The headings of a page: those that it begins under, and its own where they stand in it.

    Args:
        text: Of the page.
        path: The headings in force where it begins.
        entries: Of the outline that point to it.
    """
    found = [(0, level, title) for level, title in path]
    at = 0
    for level, title in entries:
        words = r"\s+".join(map(re.escape, title.split()))
        place = re.compile(words, re.IGNORECASE).search(text, at)
        if place:  # the number of a chapter, which outlines leave out, stands on the same line
            at = text.rfind("\n", 0, place.start()) + 1
        found.append((at, level, title))
        at = place.end() if place else at
    return tuple(found)
