"""One reader per format, each from bytes to documents, each by a library that knows it."""

from __future__ import annotations

import csv
import io
import json
import re

from langchain_core.documents import Document

from rag.errors import LoadError

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_TITLE_LINE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_NOT_CONTENT = (
    "script",
    "style",
    "nav",
    "header",
    "footer",
    "aside",
    "form",
    "noscript",
    "template",
)


def decode(data: bytes) -> str:
    """Text of bytes: UTF-8, else what charset-normalizer is sure of.

    Raises:
        LoadError: It is no text.
    """
    if b"\x00" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LoadError("not text: it holds zero bytes")
    try:
        found = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data[:65_536]).best()
        if best is None or best.chaos > 0.1:
            raise LoadError("not UTF-8, and the encoding cannot be told") from None
        try:
            found = data.decode(best.encoding)
        except UnicodeDecodeError:
            raise LoadError(f"neither UTF-8 nor {best.encoding} throughout") from None
    return found.replace("\r\n", "\n").replace("\r", "\n")


def text(data: bytes) -> list[Document]:
    """Plain text and source code, as they are."""
    return [Document(page_content=decode(data))]


def markdown(data: bytes) -> list[Document]:
    """Markdown, as it is; a title in the front matter is taken from it."""
    content = decode(data)
    front = _FRONT_MATTER.match(content)
    title = _TITLE_LINE.search(front.group(1)) if front else None
    body = content[front.end() :] if front else content
    return [Document(page_content=body, metadata={"title": title.group(1)} if title else {})]


def html(data: bytes) -> list[Document]:
    """A web page's content as Markdown, without its navigation and boilerplate."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(data, "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title else None
    for tag in soup.find_all(_NOT_CONTENT):
        tag.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    return [
        Document(page_content=_as_markdown(str(body)), metadata={"title": title} if title else {})
    ]


def docx(data: bytes) -> list[Document]:
    """A Word document as Markdown: headings, lists and tables kept."""
    import mammoth

    return [Document(page_content=_as_markdown(mammoth.convert_to_html(io.BytesIO(data)).value))]


def _as_markdown(source: str) -> str:
    from markdownify import markdownify

    converted: str = markdownify(
        source, heading_style="ATX", strip=["a", "img"], escape_underscores=False,
        escape_asterisks=False, escape_misc=False, table_infer_header=True,
    )  # fmt: skip
    lines = "\n".join(line.rstrip() for line in converted.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip() + "\n"


def pdf(data: bytes) -> list[Document]:
    """A PDF's text, one document per page that has any."""
    import pypdfium2

    try:
        opened = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        reason = str(error).lower()
        raise LoadError("the PDF is encrypted" if "password" in reason else "broken PDF") from error
    try:
        title = (opened.get_metadata_dict() or {}).get("Title")
        documents = []
        for number in range(len(opened)):
            page = opened[number].get_textpage().get_text_bounded()
            content = page.replace("\r\n", "\n").replace("\x02", "").replace("\ufffe", "").strip()
            if content:
                metadata = {"page": number + 1, **({"title": title} if title else {})}
                documents.append(Document(page_content=content, metadata=metadata))
        return documents
    finally:
        opened.close()


def table(data: bytes) -> list[Document]:
    """CSV or TSV: a paragraph per row, a line `column: value` per cell."""
    content = decode(data)
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(content[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows = csv.DictReader(io.StringIO(content), dialect=dialect)
    return [Document(page_content="\n\n".join(_record(row) for row in rows))]


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
        found.append(_record(record) if isinstance(record, dict) else str(record))
    return [Document(page_content="\n\n".join(found))]


def _record(row: dict[str, object]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in row.items() if value not in (None, ""))
