"""What is in a file: by its name, else by how it begins."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path, PurePath

from rag.errors import LoadError
from rag.index.readers.decode import decode
from rag.index.readers.formats.text import SOURCE
from rag.index.readers.languages import interpreter, is_prose, is_source, may_be_secret, tags_of
from rag.index.readers.registry import endings, readers

HEAD = 4096
"""Bytes that are looked at."""

_SIGNATURES = {"ZIP": b"PK\x03\x04", "RTF": b"{\\rtf", "OLE file": b"\xd0\xcf\x11\xe0"}
_PDF = b"%PDF-"
_OFFICE = "application/vnd.openxmlformats-officedocument."
_MAIN = {
    "word/document.xml": f"{_OFFICE}wordprocessingml.document",
    "ppt/presentation.xml": f"{_OFFICE}presentationml.presentation",
    "xl/workbook.xml": f"{_OFFICE}spreadsheetml.sheet",
    "xl/workbook.bin": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    "META-INF/container.xml": "application/epub+zip",
}
"""A file that a ZIP file holds, to what the ZIP file is."""
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html)\b", re.IGNORECASE | re.DOTALL
)
_XML = re.compile(r"\s*<\?xml\b")
_LETTER = re.compile(r"(?:[A-Z][\w-]*: .*\n(?:[ \t].*\n)*)*?(?:From|Received|Return-Path): ")


def by_name(name: str) -> str | None:
    """The content type that a file's name says; None: it says none that can be read.

    Raises:
        LoadError: Files of this name are not read: pictures, archives, keys.
    """
    ending = PurePath(name).suffix.lower()
    if ending in endings():
        return endings()[ending]
    tags = tags_of(name)
    if may_be_secret(tags):
        raise LoadError("it may hold keys or passwords")
    if is_source(tags):
        return SOURCE
    if is_prose(tags):
        return "text/plain"
    if "binary" in tags:
        raise LoadError(f"unknown file type {ending}")
    return None


def content_type(name: str, content: Path | bytes) -> str:
    """The content type of a file, for which there is a reader.

    Args:
        name: Says it, where it has a known ending.
        content: Where the file is, or its bytes; looked at where the name says nothing.

    Raises:
        LoadError: There is none.
    """
    found = by_name(name)
    if found is not None:
        return found
    if isinstance(content, bytes):
        head = content[:HEAD]
    else:
        try:
            with content.open("rb") as file:
                head = file.read(HEAD)
        except OSError as error:
            raise LoadError(f"cannot be read: {error.strerror}") from error
    found = by_content(head, content)
    if found not in readers():
        ending = PurePath(name).suffix or "(no ending)"
        raise LoadError(f"unknown file type {ending}{f', {found}' if found else ''}")
    return found


def by_content(head: bytes, content: Path | bytes) -> str:
    """The content type of how a file begins; "": it is not known.

    Args:
        head: Its first bytes.
        content: All of it, for files that hold others.
    """
    match signature(head):
        case "ZIP":
            return _packed(content)
        case "PDF":
            return "application/pdf"
        case "RTF":
            return "application/rtf"
        case "OLE file":
            return "application/x-ole-storage"
    text = _text(head)
    if text is None:
        return _magic(head)
    if _HTML.match(text):
        return "text/html"
    if _XML.match(text):
        return "application/xml"
    if interpreter(text):
        return SOURCE
    return "message/rfc822" if _LETTER.match(text) else "text/plain"


def signature(head: bytes) -> str:
    """How a file begins: PDF, ZIP, RTF, OLE file; "": like none of these."""
    if _PDF in head[:1024]:
        return "PDF"
    return next((name for name, mark in _SIGNATURES.items() if head.startswith(mark)), "")


def signature_of(kind: str) -> str:
    """How files of a content type begin, as `signature` names it."""
    if kind in _MAIN.values() or kind.startswith("application/vnd.oasis."):
        return "ZIP"
    named = {
        "application/pdf": "PDF",
        "application/rtf": "RTF",
        "application/vnd.ms-excel": "OLE file",
    }
    return named.get(kind, "")


def _packed(content: Path | bytes) -> str:
    """What a ZIP file is: what its `mimetype` says, or by what it holds."""
    try:
        opened = zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content)
        with opened as parts:
            names = set(parts.namelist())
            if "mimetype" in names and parts.getinfo("mimetype").file_size < 200:
                said = parts.read("mimetype").decode("ascii", "replace").strip()
                return said.removesuffix("-template")
            return next((kind for name, kind in _MAIN.items() if name in names), "application/zip")
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError):
        return "application/zip"


def _text(head: bytes) -> str | None:
    """The beginning as text, cut at a line's end; None if it is none."""
    whole = head if len(head) < HEAD else head[: head.rfind(b"\n") + 1] or head
    try:
        return decode(whole)
    except LoadError:
        return None


def _magic(head: bytes) -> str:
    import puremagic

    try:
        return str(puremagic.from_string(head, mime=True))
    except (puremagic.PureError, ValueError):
        return ""
