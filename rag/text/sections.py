"""Where a text may be cut: its sections, and the pieces in them.

Every splitter is a way to find these; how they are put together to chunks is the same for all
(`rag.text.splitting`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rag.errors import ConfigError
from rag.text.code import code_parts
from rag.text.sentences import sentence_starts
from rag.text.structure import MARKDOWN, Structure

if TYPE_CHECKING:
    import numpy as np

Splitter = Literal["structure", "markdown", "sentence", "token", "semantic", "code"]
"""`structure`: Markdown sections, small ones merged; sentences, table rows, definitions in code.
`markdown`: every section on its own. `sentence`: whole sentences, whatever the headings.
`token`: words up to the size. `semantic`: cut where neighbouring sentences differ most in
meaning. `code`: functions, classes and methods by the syntax tree (`rag.text.code`); else
`structure`."""

Embed = Callable[[Sequence[str]], "np.ndarray"]
"""Texts to unit vectors: float32 [texts, dim]."""

Span = tuple[int, int]

APART = 90
"""Percentile of the distances between neighbouring sentences above which `semantic` cuts."""
BESIDE = 1
"""Sentences on either side that are embedded with each, since a short one alone says little."""

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
WORDS = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class Section:
    """A part of the text; a chunk crosses its border only if it has to.

    Attributes:
        headings: What it stands under, outermost first.
        pieces: What is not cut without need, each with what opens there: 0 nothing, 1 a
            paragraph, 2 a definition in code.
    """

    headings: list[str]
    pieces: list[tuple[Span, int]]


def sections(
    text: str,
    how: Splitter,
    language: str,
    embed: Embed | None,
    structure: Structure = MARKDOWN,
) -> list[Section]:
    """The sections of a text.

    Args:
        text: Of one document.
        how: The splitter.
        language: Of the code that it is; "" for prose.
        embed: For `semantic`.
        structure: Says where its headings are.

    Raises:
        ConfigError: `semantic` without an embedder.
    """
    whole = (0, len(text))
    if how == "token":
        return [Section([], [(match.span(), 0) for match in WORDS.finditer(text)])]
    if how == "sentence":
        return [Section([], [(span, 0) for span, _ in _pieces(text, whole, code=False)])]
    if how == "semantic":
        return _semantic(text, embed)
    if how == "code":
        found = code_parts(text, language)
        if found:
            return [Section(path, list(_pieces(text, span, code=True))) for path, span in found]
    parts = [([], whole)] if language else _sections(text, structure)
    return [Section(path, list(_pieces(text, span, code=bool(language)))) for path, span in parts]


def _semantic(text: str, embed: Embed | None) -> list[Section]:
    """Cut where the meaning changes: between neighbours whose cosine is among the lowest.

    Kamradt's semantic chunking (2023), with the percentile taken over the document.
    """
    import numpy as np

    if embed is None:
        raise ConfigError("the splitter `semantic` needs an embedder", where="resources.index")
    pieces = list(_pieces(text, (0, len(text)), code=False))
    if len(pieces) < 3:
        return [Section([], pieces)]
    near = [
        text[pieces[max(at - BESIDE, 0)][0][0] : pieces[min(at + BESIDE, len(pieces) - 1)][0][1]]
        for at in range(len(pieces))
    ]
    vectors = embed(near)
    apart = 1 - np.sum(vectors[1:] * vectors[:-1], axis=1)
    border = float(np.percentile(apart, APART))
    found = [Section([], [pieces[0]])]
    for piece, distance in zip(pieces[1:], apart, strict=True):
        if distance > border:
            found.append(Section([], []))
        found[-1].pieces.append(piece)
    return found


def _sections(text: str, structure: Structure) -> list[tuple[list[str], Span]]:
    """The text cut at its headings: the path of headings, and the span."""
    if structure.markup == "markdown":
        return _markdown(text)
    sections: list[tuple[list[str], Span]] = []
    path: list[tuple[int, str]] = []
    start = 0
    for at, level, title in structure.headings:
        if text[start:at].strip():
            sections.append(([title for _, title in path], (start, at)))
            start = at
        path = [*(step for step in path if step[0] < level), (level, title)]
    sections.append(([title for _, title in path], (start, len(text))))
    return sections


def _markdown(text: str) -> list[tuple[list[str], Span]]:
    """The text cut at Markdown headings: the path of headings, and the span.

    A heading with nothing of its own belongs to the first section below it.
    """
    sections: list[tuple[list[str], Span]] = []
    path: list[tuple[int, str]] = []
    start, position, fence, bare = 0, 0, "", False
    for line in text.splitlines(keepends=True):
        heading = None if fence else _HEADING.match(line)
        if heading:
            level = len(heading.group(1))
            if not (bare and path[-1][0] < level):
                if text[start:position].strip():
                    sections.append(([title for _, title in path], (start, position)))
                start = position
            path = [*(step for step in path if step[0] < level), (level, heading.group(2))]
            bare = True
        elif line.strip():
            fence = _fence(line, fence)
            bare = False
        position += len(line)
    sections.append(([title for _, title in path], (start, len(text))))
    return sections


def _fence(line: str, fence: str) -> str:
    """The fence that is open after a line, given the one before it; "" for none."""
    found = _FENCE.match(line)
    if not found:
        return fence
    if not fence:
        return found.group(1)
    closes = found.group(1).startswith(fence) and not found.group(2).strip()
    return "" if closes else fence


def _pieces(text: str, span: Span, *, code: bool) -> Iterator[tuple[Span, int]]:
    """The section's sentences, or lines where line ends mean something, and what opens there."""
    held: tuple[Span, int] | None = None
    position, blank = span[0], True
    for line in text[span[0] : span[1]].splitlines(keepends=True):
        end = position + len(line)
        if line.strip():
            whole = code or line.lstrip().startswith("|")
            opens = (2 if code and not line[0].isspace() else 1) if blank else 0
            for piece in [(position, end)] if whole else _sentences(text, (position, end)):
                if held:
                    yield held
                held, opens = (piece, opens), 0
        elif held:  # a blank line belongs to what stands before it
            held = ((held[0][0], end), held[1])
        blank = not line.strip()
        position = end
    if held:
        yield held


def _sentences(text: str, span: Span) -> Iterator[Span]:
    """The line's sentences, each with the white space behind it."""
    start, end = span
    for following in sentence_starts(text[start:end]):
        yield start, span[0] + following
        start = span[0] + following
    yield start, end
