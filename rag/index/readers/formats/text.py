"""Plain text, Markdown, and source code: as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.index.readers.decode import decode
from rag.index.readers.file import MAX_TEXT_BYTES, File
from rag.index.readers.languages import language_of
from rag.index.readers.reader import Reader, Types, document
from rag.text.structure import PLAIN

SOURCE = "text/x-source"
"""Content type of source code in any language."""
RESERVED = frozenset(
    "source path page start end heading id score scores structure part written_as".split()  # noqa: SIM905
)
"""Metadata of chunks that front matter does not set."""

_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)


class TextReader(Reader):
    """Plain text, in which no line is a heading."""

    types: ClassVar[Types] = {"text/plain": (".txt", ".log")}
    apart = False
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The text."""
        return [document(decode(file.data()), structure=PLAIN)]


class SourceReader(Reader):
    """Source code."""

    types: ClassVar[Types] = {SOURCE: ()}
    apart = False
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The text, with its `language`."""
        text = decode(file.data())
        title = file.name.rpartition("/")[2]
        return [document(text, title, PLAIN, language=language_of(file.name, text[:200]))]


class MarkdownReader(Reader):
    """Markdown; what its front matter says becomes metadata."""

    types: ClassVar[Types] = {"text/markdown": (".md", ".markdown", ".mdx", ".qmd", ".rmd")}
    apart = False
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The text without its front matter."""
        text = decode(file.data())
        front = _FRONT_MATTER.match(text)
        if front is None:
            return [document(text)]
        known = _front_matter(front.group(1), file)
        title = known.pop("title", None)
        return [document(text[front.end() :], title and str(title), **known)]


def _front_matter(text: str, file: File) -> dict[str, Any]:
    """The mapping of a front matter in YAML: text, numbers, truth values, and lists of these."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="safe", pure=True)
    try:
        if "&" in text and "*" in text:  # aliases may refer to each other without end
            raise YAMLError("has anchors")
        found = yaml.load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        file.warn(f"its front matter is no YAML and is left out: {reason}")
        return {}
    if not isinstance(found, dict):
        return {}
    known: dict[str, Any] = {}
    for key, value in found.items():
        plain = _plain(value)
        if plain is not None and str(key) not in RESERVED:
            known[str(key)] = plain
    return known


def _plain(value: Any) -> Any:
    match value:
        case date():
            return value.isoformat()
        case str() | int() | float():
            return value
        case list():
            return [item for item in map(_plain, value) if item is not None]
        case _:
            return None
