"""One reader per format: bytes to documents, parsed by a library."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.decode import decode, refuse_binary

if TYPE_CHECKING:
    from bs4 import Tag

UNPACKED_BYTES = 200 * 2**20
"""A DOCX is a ZIP file; one that unpacks to more is an attack on memory, not a letter."""

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---(?:\n|\Z)", re.DOTALL)
_TITLE_LINE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_NOT_CONTENT = ("script", "style", "nav", "aside", "form", "noscript", "template")
_LINE_BREAK_HYPHEN = re.compile(r"[\x02\ufffe]\n?")
_NO_TITLES = ("", "untitled", "anonymous")
# PDFium must not be entered by two threads at once.
_pdfium = threading.Lock()


def text(data: bytes) -> list[Document]:
    """Plain text and source code, as they are."""
    return [Document(page_content=decode(data))]


def markdown(data: bytes) -> list[Document]:
    """Markdown, as it is; a title in the front matter is taken from it."""
    content = decode(data)
    front = _FRONT_MATTER.match(content)
    title = _TITLE_LINE.search(front.group(1)) if front else None
    body = content[front.end() :] if front else content
    return [_document(body, title.group(1) if title else None)]


def html(data: bytes) -> list[Document]:
    """A web page's content as Markdown, without its navigation and boilerplate."""
    from bs4 import BeautifulSoup

    refuse_binary(data)
    soup = BeautifulSoup(data, "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title else None
    for tag in soup.find_all(_NOT_CONTENT):
        tag.decompose()
    # Within an article, a header holds its heading.
    for tag in soup.find_all(("header", "footer")):
        if not tag.find_parent(("article", "main")):
            tag.decompose()
    return [_document(_as_markdown(soup.find("main") or soup.body or soup), title)]


def docx(data: bytes) -> list[Document]:
    """A Word document as Markdown: with headings, lists and tables."""
    import mammoth
    from bs4 import BeautifulSoup

    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        if sum(part.file_size for part in parts.infolist()) > UNPACKED_BYTES:
            raise LoadError(f"it unpacks to more than {UNPACKED_BYTES // 2**20} MB")
        core = "docProps/core.xml"
        properties = parts.read(core) if core in parts.namelist() else b""
    title = BeautifulSoup(properties, "xml").find("title")
    # Images would become base64 text.
    converted = mammoth.convert_to_html(
        io.BytesIO(data),
        style_map="p[style-name='Title'] => h1:fresh",
        convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
    )
    body = BeautifulSoup(converted.value, "lxml")
    return [_document(_as_markdown(body), title.get_text(strip=True) if title else None)]


def _as_markdown(content: Tag) -> str:
    from markdownify import MarkdownConverter

    converter = MarkdownConverter(
        heading_style="ATX", bullets="-", strip=["a", "img"], escape_underscores=False,
        escape_asterisks=False, escape_misc=False, table_infer_header=True,
    )  # fmt: skip
    converted: str = converter.convert_soup(content)
    lines = "\n".join(line.rstrip() for line in converted.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip() + "\n"


def pdf(data: bytes) -> list[Document]:
    """A PDF's text, one document per page that has any."""
    import pypdfium2

    with _pdfium:
        try:
            opened = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            locked = "password" in str(error).lower()
            raise LoadError("the PDF is encrypted" if locked else "broken PDF") from error
        try:
            title = opened.get_metadata_dict().get("Title", "").strip()
            pages = [_page(opened[number]) for number in range(len(opened))]
        finally:
            opened.close()
    found = [(number, page) for number, page in enumerate(pages, start=1) if page]
    if title.strip("()").lower() in _NO_TITLES:
        title = found[0][1].split("\n", 1)[0][:120].strip() if found else ""
    return [_document(page, title, page=number) for number, page in found]


def _page(page: Any) -> str:
    content: str = page.get_textpage().get_text_bounded()
    content = content.replace("\r\n", "\n").replace("\r", "\n")
    return _LINE_BREAK_HYPHEN.sub("", content).replace("\0", "").strip()


def table(data: bytes) -> list[Document]:
    """CSV or TSV: a paragraph per row, a line `column: value` per cell."""
    content = decode(data)
    header = content.partition("\n")[0]
    delimiter = max(",;\t|", key=header.count)
    rows = csv.DictReader(
        io.StringIO(content, newline=""), delimiter=delimiter, restkey="", restval=""
    )
    return [_records(rows)]


def records(data: bytes) -> list[Document]:
    """JSON Lines: a paragraph per record, a line `key: value` per field."""
    found = []
    for number, line in enumerate(decode(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise LoadError(f"line {number} is not JSON: {error.msg}") from error
        found.append(record if isinstance(record, dict) else {"value": record})
    return [_records(found)]


def _records(rows: Iterable[dict[str, Any]]) -> Document:
    paragraphs = (
        "\n".join(
            f"{key}: {value}" if key else value
            for key, cell in row.items()
            if (value := _line(cell))
        )
        for row in rows
    )
    return _document("\n\n".join(paragraph for paragraph in paragraphs if paragraph), None)


def _line(cell: Any) -> str:
    """A cell's value on one line, so that blank lines stand between records only."""
    if cell is None:
        return ""
    if isinstance(cell, list) and all(isinstance(one, str) for one in cell):
        cell = ", ".join(cell)
    value = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
    return " ".join(value.split())


def _document(content: str, title: str | None, **metadata: Any) -> Document:
    return Document(page_content=content, metadata=metadata | ({"title": title} if title else {}))
