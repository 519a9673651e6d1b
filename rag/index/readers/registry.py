"""Readers by content type: those of this package, then those of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points

from rag.errors import ConfigError
from rag.index.readers.formats.docx import DocxReader
from rag.index.readers.formats.epub import EpubReader
from rag.index.readers.formats.html import HtmlReader
from rag.index.readers.formats.mail import MailReader
from rag.index.readers.formats.notebook import NotebookReader
from rag.index.readers.formats.odt import OdtReader
from rag.index.readers.formats.pdf import PdfReader
from rag.index.readers.formats.pptx import PptxReader
from rag.index.readers.formats.records import CsvReader, JsonLinesReader
from rag.index.readers.formats.rst import RstReader
from rag.index.readers.formats.rtf import RtfReader
from rag.index.readers.formats.spreadsheet import SpreadsheetReader
from rag.index.readers.formats.text import MarkdownReader, SourceReader, TextReader
from rag.index.readers.formats.xml import XmlReader
from rag.index.readers.reader import Reader

GROUP = "rag.readers"
"""Entry points whose values are subclasses of `Reader`; they come before ours."""
BUILTIN: tuple[type[Reader], ...] = (
    TextReader, SourceReader, MarkdownReader, RstReader, HtmlReader, XmlReader, PdfReader,
    DocxReader, PptxReader, SpreadsheetReader, OdtReader, EpubReader, RtfReader, NotebookReader,
    MailReader, CsvReader, JsonLinesReader,
)  # fmt: skip


@lru_cache(1)
def readers() -> Mapping[str, Reader]:
    """Content type to reader.

    Raises:
        ConfigError: An installed package offers something that is no reader.
    """
    found: dict[str, Reader] = {}
    for one in (*BUILTIN, *_installed()):
        reader = one()
        found |= dict.fromkeys(one.types, reader)
    return found


@lru_cache(1)
def endings() -> Mapping[str, str]:
    """Ending, in small letters with its dot, to content type."""
    found: dict[str, str] = {}
    for one in (*BUILTIN, *_installed()):
        for kind, names in one.types.items():
            found |= dict.fromkeys(names, kind)
    return found


def _installed() -> list[type[Reader]]:
    found: list[type[Reader]] = []
    for entry in entry_points(group=GROUP):
        one = entry.load()
        if not (isinstance(one, type) and issubclass(one, Reader)):
            raise ConfigError(
                f"the entry point {entry.name!r} of {GROUP} is no reader",
                where=entry.value,
                fix="name a subclass of rag.index.readers.reader.Reader",
            )
        found.append(one)
    return found
