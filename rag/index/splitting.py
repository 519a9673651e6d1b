"""Splitting documents into chunks that know where they stand.

Works on spans of the text, so that a chunk's offsets are exact and every atom (a sentence, a
line of code, a row of a table) is counted once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document

from rag.errors import ConfigError

SIZE = 200
OVERLAP = 30

Counter = Callable[[Sequence[str]], list[int]]
"""Texts to their lengths, in tokens."""

Span = tuple[int, int]

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)|(?<=[。！？])")
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
    """A piece that is not cut: where it stands, its length, whether a paragraph starts with it."""

    span: Span
    length: int
    opens: bool


def _split(document: Document, size: int, overlap: int, count: Counter) -> Iterator[Document]:
    text = document.page_content
    code = bool(document.metadata.get("language"))
    sections = [([], (0, len(text)))] if code else _sections(text)
    packed: list[tuple[list[str], Span, int]] = []
    for headings, span in sections:
        atoms = _atoms(text, span, size, count, code=code)
        total = sum(atom.length for atom in atoms)
        previous = packed[-1] if packed else None
        if previous and atoms and _mergeable(previous[0], headings) and previous[2] + total <= size:
            packed[-1] = (
                _shared(previous[0], headings),
                (previous[1][0], atoms[-1].span[1]),
                previous[2] + total,
            )
            continue
        for chunk in _pack(atoms, size, overlap):
            start, end = chunk[0].span[0], chunk[-1].span[1]
            packed.append((headings, (start, end), sum(atom.length for atom in chunk)))
    for headings, (start, end), _ in packed:
        content = text[start:end]
        end -= len(content) - len(content.rstrip())
        start += len(content) - len(content.lstrip())
        if start >= end:
            continue
        metadata = {**document.metadata, "start": start, "end": end}
        if headings:
            metadata["heading"] = " > ".join(headings)
        yield Document(page_content=text[start:end], metadata=metadata)


def _sections(text: str) -> list[tuple[list[str], Span]]:
    """The text cut at Markdown headings: the path of headings, and the span."""
    sections: list[tuple[list[str], Span]] = []
    path: list[tuple[int, str]] = []
    start, position, fenced = 0, 0, False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line.rstrip("\n"))
        if heading:
            if text[start:position].strip():
                sections.append(([title for _, title in path], (start, position)))
            start = position
            level = len(heading.group(1))
            path = [*(step for step in path if step[0] < level), (level, heading.group(2))]
        position += len(line)
    sections.append(([title for _, title in path], (start, len(text))))
    return sections


def _mergeable(before: list[str], after: list[str]) -> bool:
    """Whether two sections in a row are about one thing: under the same heading."""
    return bool(_shared(before, after))


def _shared(before: list[str], after: list[str]) -> list[str]:
    shared = []
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        shared.append(one)
    return shared


def _atoms(text: str, span: Span, size: int, count: Counter, *, code: bool) -> list[_Atom]:
    """The section's sentences, or lines where line ends mean something, measured."""
    spans: list[tuple[Span, bool]] = []
    position, blank = span[0], True
    for line in text[span[0] : span[1]].splitlines(keepends=True):
        end = position + len(line)
        if not line.strip():
            if spans:  # a blank line belongs to what stands before it
                spans[-1] = ((spans[-1][0][0], end), spans[-1][1])
            blank = True
        else:
            whole = code or line.lstrip().startswith("|")
            for number, piece in enumerate(
                [(position, end)] if whole else _sentences(text, (position, end))
            ):
                spans.append((piece, blank and number == 0))
            blank = False
        position = end
    lengths = count([text[start:end] for (start, end), _ in spans]) if spans else []
    atoms: list[_Atom] = []
    for (piece, opens), length in zip(spans, lengths, strict=True):
        if length <= size:
            atoms.append(_Atom(piece, length, opens))
        else:
            atoms.extend(_cut(text, piece, size, count, opens=opens))
    return atoms


def _sentences(text: str, span: Span) -> Iterator[Span]:
    start = span[0]
    for match in _SENTENCE.finditer(text, *span):
        if match.end() < span[1]:
            yield start, match.end()
            start = match.end()
    yield start, span[1]


def _cut(text: str, span: Span, size: int, count: Counter, *, opens: bool) -> list[_Atom]:
    """An atom that is too long, cut at words, and at characters where a word is too long."""
    pieces = [match.span() for match in _WORDS.finditer(text, *span)]
    lengths = count([text[start:end] for start, end in pieces])
    atoms: list[_Atom] = []
    for (start, end), length in zip(pieces, lengths, strict=True):
        step = (end - start) if length <= size else max(1, (end - start) * size // (2 * length))
        share = length if length <= size else -(-length * step // (end - start))
        for at in range(start, end, step):
            stop = min(at + step, end)
            last = atoms[-1] if atoms else None
            if last and last.length + share <= size:
                atoms[-1] = _Atom((last.span[0], stop), last.length + share, last.opens)
            else:
                atoms.append(_Atom((at, stop), min(share, size), opens and not atoms))
    return atoms


def _pack(atoms: Sequence[_Atom], size: int, overlap: int) -> Iterator[list[_Atom]]:
    """Atoms put together up to `size`; a chunk ends before a paragraph that would not fit whole."""
    chunk: list[_Atom] = []
    length = 0
    for number, atom in enumerate(atoms):
        wanted = atom.length
        if atom.opens and length > size // 2:
            wanted = _paragraph(atoms, number)
        if chunk and length + min(wanted, size) > size:
            yield chunk
            chunk = _tail(chunk, overlap if not atom.opens else 0, size - atom.length)
            length = sum(kept.length for kept in chunk)
        chunk.append(atom)
        length += atom.length
    if chunk:
        yield chunk


def _paragraph(atoms: Sequence[_Atom], start: int) -> int:
    """The length of the paragraph that starts at `start`."""
    total = atoms[start].length
    for atom in atoms[start + 1 :]:
        if atom.opens:
            break
        total += atom.length
    return total


def _tail(chunk: Sequence[_Atom], overlap: int, room: int) -> list[_Atom]:
    """The last atoms of a chunk that fit into the overlap and the room there is."""
    kept: list[_Atom] = []
    left = min(overlap, room)
    for atom in reversed(chunk):
        if atom.length > left:
            break
        kept.insert(0, atom)
        left -= atom.length
    return kept
