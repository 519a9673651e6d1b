"""reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from langchain_core.documents import Document

from rag.index.readers.decode import decode
from rag.index.readers.file import MAX_TEXT_BYTES, File
from rag.index.readers.reader import Reader, Types, document
from rag.text.structure import Structure

_LINE = re.compile(r"^([!-/:-@\[-`{-~])\1{2,}\s*$")
"""A line of one mark of punctuation, which makes the line above it a heading."""


class RstReader(Reader):
    """reStructuredText, as it is, with its headings.

    It is made to be read as it is. docutils would drop what directives hold that it does not
    know, which are most of a page for Sphinx.
    """

    types: ClassVar[Types] = {"text/x-rst": (".rst", ".rest")}
    apart = False
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The text."""
        text = decode(file.data())
        headings = headings_of(text)
        title = headings[0][2] if headings else None
        return [document(text, title, Structure("none", headings))]


def headings_of(text: str) -> tuple[tuple[int, int, str], ...]:
    """Place, level and text of the headings, as docutils' reference defines them ("Sections").

    A heading is underlined, or between two equal lines; levels are numbered as the styles appear.
    """
    lines = text.splitlines(keepends=True)
    styles: list[str] = []
    found: list[tuple[int, int, str]] = []
    position, starts = 0, []
    for line in lines:
        starts.append(position)
        position += len(line)
    for at in range(1, len(lines)):
        under = _LINE.match(lines[at])
        title = lines[at - 1].rstrip()
        if not under or not title.strip() or _LINE.match(title):
            continue
        above = lines[at - 2].rstrip() if at > 1 else ""
        over = bool(_LINE.match(above)) and above == lines[at].rstrip()
        if (title[0].isspace() and not over) or (above and not over):
            continue
        if len(lines[at].rstrip()) < min(len(title), 4):
            continue
        style = under.group(1) * (2 if over else 1)
        if style not in styles:
            styles.append(style)
        found.append((starts[at - 2 if over else at - 1], styles.index(style) + 1, title.strip()))
    return tuple(found)
