"""Splitting documents into chunks that know their position.

Works on spans of the text, so that a chunk's offsets are exact and every atom (a sentence, a
line of code, a row of a table) is counted once, many in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.text.chunk import Chunk
from rag.text.sections import WORDS, Embed, Section, Span, Splitter, sections
from rag.text.structure import KEY, Structure

SIZE = 200
OVERLAP = 30
CHARACTERS = 16
"""A piece counts as one for so many characters at least: tokenizers take a blob for one word."""
COUNTED = 2_000
"""Pieces counted in one call: a tokenizer holds a hundred bytes and more for each token."""

Counter = Callable[[Sequence[str]], list[int]]
"""Texts to their lengths, in tokens."""


def words(texts: Sequence[str]) -> list[int]:
    """Lengths in words; for callers without a tokenizer."""
    return [len(text.split()) for text in texts]


def split(
    documents: Sequence[Document],
    *,
    size: int = SIZE,
    overlap: int = OVERLAP,
    count: Counter = words,
    splitter: Splitter = "structure",
    parents: Sequence[int] = (),
    embed: Embed | None = None,
) -> list[Chunk]:
    """Cut documents into chunks.

    A chunk stays within one section, or, as the splitter allows, holds several small ones under
    the same heading; it ends where a paragraph, a line or a sentence ends, and within one only
    when that alone is too long.

    Args:
        documents: As `rag.index.readers` makes them.
        size: The most that a chunk holds, as `count` counts.
        overlap: How much of its end a chunk repeats at the next one's start, within a section.
        count: Lengths of texts.
        splitter: What the sections are: see `rag.text.sections.Splitter`.
        parents: Sizes of larger chunks that these are cut from, largest first.
        embed: Texts to unit vectors; `semantic` needs it.

    Returns:
        Chunks with `start` and `end` (characters in their document: `text[start:end]` is the
        chunk), `heading` (`Locks > North lock`) and `rows` (first and last, of a table) where
        there are any; with `parents` also where each parent starts.

    Raises:
        ConfigError: `size`, `overlap` or `parents` cannot be, or `embed` is missing.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ConfigError(
            f"chunks of {size} with an overlap of {overlap}", fix="size >= 1, 0 <= overlap < size"
        )
    sizes = [*parents, size]
    if any(outer <= inner for outer, inner in pairwise(sizes)):
        raise ConfigError(
            f"parents of {list(parents)} over chunks of {size}",
            fix="largest first, each larger than what is cut from it",
        )
    found: list[Chunk] = []
    for document in documents:
        structure = Structure.of(document.metadata)
        own = {key: value for key, value in document.metadata.items() if key != KEY}
        whole = Chunk(document.page_content, own, document.id)
        before = len(found)
        parts = sections(whole.text, splitter, whole.language, embed, structure)
        measured = _measured(whole.text, parts, size, count)
        together = splitter in ("structure", "code")
        for above, packed in _levels(measured, sizes, overlap, together=together):
            start, end = _trimmed(whole.text, packed.span)
            if start >= end:
                continue
            # Where all but white space is repeated, the longer chunk holds the one before it.
            if len(found) > before and found[-1].start == start:
                found.pop()
            rows = structure.rows_of(start, end)
            found.append(whole.piece(start, end, packed.headings, above, rows))
    return found


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
class _Section:
    headings: list[str]
    atoms: list[_Atom]


@dataclass
class _Packed:
    headings: list[str]
    sections: list[_Section]
    length: int

    @property
    def span(self) -> Span:
        return self.sections[0].atoms[0].span[0], self.sections[-1].atoms[-1].span[1]


def _measured(text: str, parts: Sequence[Section], size: int, count: Counter) -> Iterator[_Section]:
    """The sections with their pieces counted, those too long cut."""
    lengths = iter(_measure(text, (span for part in parts for span, _ in part.pieces), count))
    for part in parts:
        atoms: list[_Atom] = []
        for (span, opens), length in zip(part.pieces, lengths, strict=False):
            if length <= size:
                atoms.append(_Atom(span, length, opens))
            else:
                atoms.extend(_cut(text, span, size, count, opens))
        yield _Section(part.headings, atoms)


def _levels(
    parts: Iterable[_Section],
    sizes: Sequence[int],
    overlap: int,
    *,
    together: bool,
    above: tuple[int, ...] = (),
) -> Iterator[tuple[tuple[int, ...], _Packed]]:
    """The chunks of the last size, each with where the larger ones that it is in start."""
    last = len(sizes) == 1
    packed: list[_Packed] = []
    for part in parts:
        _append(packed, part, sizes[0], overlap if last else 0, together=together)
    for chunk in packed:
        if last:
            yield above, chunk
        else:
            start = (*above, chunk.span[0])
            yield from _levels(chunk.sections, sizes[1:], overlap, together=together, above=start)


def _trimmed(text: str, span: Span) -> Span:
    """The span without the white space at its ends."""
    start, end = span
    content = text[start:end]
    return start + len(content) - len(content.lstrip()), start + len(content.rstrip())


def _append(
    packed: list[_Packed], part: _Section, size: int, overlap: int, *, together: bool
) -> None:
    """Add a section: to the chunk before it if they share a heading and fit, else on its own."""
    total = sum(atom.length for atom in part.atoms)
    if together and packed and part.atoms and packed[-1].length + total <= size:
        last = packed[-1]
        shared = _shared(last.headings, part.headings)
        if shared:
            last.headings, last.length = shared, last.length + total
            last.sections.append(part)
            return
    for atoms in _pack(part.atoms, size, overlap):
        length = sum(atom.length for atom in atoms)
        packed.append(_Packed(part.headings, [_Section(part.headings, atoms)], length))


def _shared(before: list[str], after: list[str]) -> list[str]:
    """The headings that two sections stand under."""
    shared = []
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        shared.append(one)
    return shared


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
    pieces = [match.span() for match in WORDS.finditer(text, *span)]
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
