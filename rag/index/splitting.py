"""Splitting documents into chunks that know where they stand.

Works on spans of the text, so that a chunk's offsets are exact and every atom (a sentence, a
line of code, a row of a table) is counted once, many in one call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document

from rag.errors import ConfigError

SIZE = 200
OVERLAP = 30
CHARACTERS = 16
"""A piece counts as one for so many characters at least: tokenizers take a blob for one word."""
COUNTED = 2_000
"""Pieces counted in one call: a tokenizer holds a hundred bytes and more for each token."""

Counter = Callable[[Sequence[str]], list[int]]
"""Texts to their lengths, in tokens."""

Span = tuple[int, int]

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)|(?<=[\u3002\uff01\uff1f])")
_WORDS = re.compile(r"\S+\s*")


def words(texts: Sequence[str]) -> list[int]:
    """Lengths in words; what is counted where no tokenizer is at hand."""
    return [len(text.split()) for text in texts]


def split(
    documents: Sequence[Document],
    *,
    size: int = SIZE,
    overlap: int = OVERLAP,
    count: Counter = words,
) -> list[Document]:
    """Cut documents into chunks.

    A chunk stays within one section of a Markdown document, or holds several small sections
    under the same heading; it ends where a paragraph, a line or a sentence ends, and within
    one only when that alone is too long.

    Args:
        documents: As `rag.index.loading` makes them.
        size: The most that a chunk holds, as `count` counts.
        overlap: How much of its end a chunk repeats at the next one's start, within a section.
        count: Lengths of texts.

    Returns:
        Chunks with `start` and `end` (characters in their document: `text[start:end]` is the
        chunk) and `heading` (`Locks > North lock`, where there is one) in their metadata.

    Raises:
        ConfigError: `size` or `overlap` cannot be.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ConfigError(
            f"chunks of {size} with an overlap of {overlap}", fix="size >= 1, 0 <= overlap < size"
        )
    return [chunk for document in documents for chunk in _split(document, size, overlap, count)]


def embedding_text(chunk: Document) -> str:
    """What is embedded and indexed of a chunk: its title and headings say what it is about."""
    head = [str(chunk.metadata[key]) for key in ("title", "heading") if chunk.metadata.get(key)]
    if len(head) == 2 and head[1].startswith(head[0]):
        head = head[1:]
    new = [line for line in head if not chunk.page_content.lstrip("# ").startswith(line)]
    return "\n".join([*new, chunk.page_content])


@dataclass(frozen=True)
class _Atom:
    """A piece that is not cut.

    Attributes:
        span: Where it stands.
        length: As counted.
        opens: What starts with it: 0 nothing, 1 a paragraph, 2 a definition in code.
    """

    span: Span
    length: int
    opens: int


@dataclass(frozen=True)
class _Chunk:
    headings: list[str]
    span: Span
    length: int


def _split(document: Document, size: int, overlap: int, count: Counter) -> Iterator[Document]:
    text = document.page_content
    code = bool(document.metadata.get("language"))
    sections = [([], (0, len(text)))] if code else _sections(text)
    pieces = [list(_pieces(text, span, code=code)) for _, span in sections]
    lengths = iter(_measure(text, (span for section in pieces for span, _ in section), count))
    packed: list[_Chunk] = []
    for (headings, _), section in zip(sections, pieces, strict=True):
        atoms: list[_Atom] = []
        for (span, opens), length in zip(section, lengths, strict=False):
            if length <= size:
                atoms.append(_Atom(span, length, opens))
            else:
                atoms.extend(_cut(text, span, size, count, opens))
        _append(packed, headings, atoms, size, overlap)
    for chunk in packed:
        start, end = chunk.span
        content = text[start:end]
        end -= len(content) - len(content.rstrip())
        start += len(content) - len(content.lstrip())
        if start >= end:
            continue
        metadata = {**document.metadata, "start": start, "end": end}
        if chunk.headings:
            metadata["heading"] = " > ".join(chunk.headings)
        yield Document(page_content=text[start:end], metadata=metadata)


def _append(
    packed: list[_Chunk], headings: list[str], atoms: list[_Atom], size: int, overlap: int
) -> None:
    """Add a section: to the chunk before it if that is about one thing and both fit, else anew."""
    total = sum(atom.length for atom in atoms)
    if packed and atoms and packed[-1].length + total <= size:
        last = packed[-1]
        shared = _shared(last.headings, headings)
        if shared:
            span = (last.span[0], atoms[-1].span[1])
            packed[-1] = _Chunk(shared, span, last.length + total)
            return
    for chunk in _pack(atoms, size, overlap):
        span = (chunk[0].span[0], chunk[-1].span[1])
        packed.append(_Chunk(headings, span, sum(atom.length for atom in chunk)))


def _sections(text: str) -> list[tuple[list[str], Span]]:
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


def _shared(before: list[str], after: list[str]) -> list[str]:
    """The headings that two sections stand under."""
    shared = []
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        shared.append(one)
    return shared


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
    start = span[0]
    for match in _SENTENCE.finditer(text, *span):
        if start < match.end() < span[1]:
            yield start, match.end()
            start = match.end()
    yield start, span[1]


def _measure(text: str, spans: Iterable[Span], count: Counter) -> list[int]:
    pieces = [text[start:end] for start, end in spans]
    lengths: list[int] = []
    for at in range(0, len(pieces), COUNTED):
        lengths.extend(count(pieces[at : at + COUNTED]))
    return [
        max(length, len(piece) // CHARACTERS) for piece, length in zip(pieces, lengths, strict=True)
    ]


def _cut(text: str, span: Span, size: int, count: Counter, opens: int) -> list[_Atom]:
    """An atom that is too long, cut at words, and at characters where a word is too long."""
    pieces = [match.span() for match in _WORDS.finditer(text, *span)]
    atoms: list[_Atom] = []
    for (start, end), length in zip(pieces, _measure(text, pieces, count), strict=True):
        step = (end - start) if length <= size else max(1, (end - start) * size // (2 * length))
        share = length if length <= size else -(-length * step // (end - start))
        for at in range(start, end, step):
            stop = min(at + step, end)
            last = atoms[-1] if atoms else None
            if last and last.length + share <= size:
                atoms[-1] = _Atom((last.span[0], stop), last.length + share, last.opens)
            else:
                atoms.append(_Atom((at, stop), min(share, size), 0 if atoms else opens))
    return atoms


def _pack(atoms: Sequence[_Atom], size: int, overlap: int) -> Iterator[list[_Atom]]:
    """Atoms put together up to `size`; a chunk ends before a paragraph that would not fit whole."""
    chunk: list[_Atom] = []
    length = 0
    for number, atom in enumerate(atoms):
        wanted = atom.length
        if atom.opens and length > size // 2:
            wanted = _paragraph(atoms, number, size)
        if chunk and length + wanted > size:
            yield chunk
            chunk = [] if atom.opens else _tail(chunk, min(overlap, size - atom.length))
            length = sum(kept.length for kept in chunk)
        chunk.append(atom)
        length += atom.length
    if chunk:
        yield chunk


def _paragraph(atoms: Sequence[_Atom], start: int, size: int) -> int:
    """The length of the paragraph or definition that starts at `start`; `size` if it is more."""
    total = atoms[start].length
    for at in range(start + 1, len(atoms)):
        if atoms[at].opens >= atoms[start].opens or total >= size:
            break
        total += atoms[at].length
    return min(total, size)


def _tail(chunk: Sequence[_Atom], room: int) -> list[_Atom]:
    """The last atoms of a chunk that fit into the room there is."""
    first = len(chunk)
    while first and chunk[first - 1].length <= room:
        first -= 1
        room -= chunk[first].length
    return list(chunk[first:])
