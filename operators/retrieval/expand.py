"""Expansion: what was found is small and exact, what is read is the text around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.index.local.chunks import place
from rag.operators.documents import unique

UNKNOWN = -1
"""Where a chunk that came without its place in a text starts and ends."""


class Neighbours(Operator):
    """Widens each chunk by the chunks before and after it (sliding window).

    What was found by a few sentences is read with the text around it. Chunks that come to
    overlap or touch become one document, in the place of the better of them. Chunks that the
    index does not hold stay as they are.
    Reads `documents` of the index; writes `documents`, best first, `start`, `end` and the text
    those of the window.
    Example: `{use: neighbours, before: 1, after: 1}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    before: int = Field(default=1, ge=0, description="chunks before it")
    after: int = Field(default=1, ge=0, description="chunks after it")

    def run(self, documents: list[Document], *, index: Index) -> list[Document]:
        """Look the neighbours up."""
        shelf = _Shelf(index)
        groups: list[_Group] = []
        for document in unique(documents).values():
            page = document.metadata.get("page")
            chunks = [c for c in shelf.of(document) if c.metadata.get("page") == page]
            at = next((n for n, chunk in enumerate(chunks) if chunk.id == document.id), None)
            if at is None:
                groups.append(_Group(document, []))
                continue
            key = (document.metadata["source"], page)
            first, last = max(at - self.before, 0), min(at + self.after, len(chunks) - 1)
            touching = [g for g in groups if g.key == key and g.touches(first, last)]
            groups = [group for group in groups if group not in touching[1:]]
            if touching:
                first = min(first, *(group.first for group in touching))
                last = max(last, *(group.last for group in touching))
                touching[0].first, touching[0].last = first, last
            else:
                groups.append(_Group(document, chunks, key, first, last))
        return [group.text() for group in groups]


@dataclass(eq=False)
class _Group:
    """A document and the run of chunks that it becomes; no chunks: it stays."""

    document: Document
    chunks: list[Document]
    key: Any = None
    first: int = 0
    last: int = 0

    def touches(self, first: int, last: int) -> bool:
        """Whether there is no chunk between the two runs."""
        return first <= self.last + 1 and last >= self.first - 1

    def text(self) -> Document:
        """The document, as wide as its run."""
        run = self.chunks[self.first : self.last + 1]
        return _wide(self.document, run) if run else self.document


class Parents(Operator):
    """Puts the larger text that a chunk was cut from in its place (small-to-big).

    Small chunks are found more exactly, larger ones are answered from better. The parents are
    made at ingest, by `parents: [800]` in the index's specification; with several sizes there is
    a hierarchy. A parent comes once, where the best of its children stood. With `share`, a
    parent replaces its children only if that share of them was found (auto-merging); the others
    stay as they are. Chunks without a parent stay too.
    Reads `documents` of the index; writes `documents`, best first.
    Examples: `{use: parents}`, `{use: parents, of: document}`, `{use: parents, share: 0.5}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    of: Literal["parent", "document"] = Field(
        default="parent", description="the parent, or the whole document (of a PDF, the page)"
    )
    level: PositiveInt = Field(default=1, description="1: the nearest parent; 2: its parent; ...")
    share: float = Field(default=0.0, ge=0, le=1, description="of its children, found")

    def run(self, documents: list[Document], *, index: Index) -> list[Document]:
        """Look the parents up."""
        shelf = _Shelf(index)
        found = list(unique(documents).values())
        hits: dict[Any, list[Document]] = {}
        for document in found:
            hits.setdefault(self._key(document), []).append(document)
        written: list[Document] = []
        done: set[Any] = set()
        for document in found:
            key = self._key(document)
            if key in done:
                continue
            children = [c for c in shelf.of(document) if self._key(c) == key] if key else []
            if not children or len(hits[key]) < self.share * len(children):
                written.append(document)
                continue
            done.add(key)
            written.append(_wide(document, children))
        return written

    def _key(self, document: Document) -> Any:
        """What the children of one parent share; None: there is no parent."""
        source, page = document.metadata.get("source"), document.metadata.get("page")
        if source is None:
            return None
        if self.of == "document":
            return source, page
        parents = document.metadata.get("parents") or []
        return (source, page, parents[-self.level]) if len(parents) >= self.level else None


class _Shelf:
    """The chunks of sources, each source looked up once."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: dict[str, list[Document]] = {}

    def of(self, document: Document) -> list[Document]:
        """All chunks of the document's source, in their order."""
        source = document.metadata.get("source")
        if source is None:
            return []
        if source not in self._kept:
            self._kept[source] = self._index.of_source(str(source))
        return self._kept[source]


def _wide(document: Document, chunks: Sequence[Document]) -> Document:
    """The document with the text of all these chunks, which stand in order."""
    text, end = "", UNKNOWN
    for chunk in chunks:
        start = chunk.metadata.get("start", UNKNOWN)
        if UNKNOWN not in (start, end) and start < end:
            text += chunk.page_content[end - start :]
        elif text:
            close = UNKNOWN not in (start, end) and start - end <= 1
            text += (" " if close else "\n\n") + chunk.page_content
        else:
            text = chunk.page_content
        end = max(end, chunk.metadata.get("end", UNKNOWN))
    first, last = min(chunks, key=place), max(chunks, key=place)
    reach = {"start": first.metadata.get("start"), "end": last.metadata.get("end")}
    known = {key: value for key, value in reach.items() if value is not None}
    metadata = {**document.metadata, **known}
    headings = [str(chunk.metadata.get("heading", "")).split(" > ") for chunk in chunks]
    same = takewhile(lambda names: len({*names}) == 1, zip(*headings, strict=False))
    shared = [names[0] for names in same if names[0]]
    metadata.pop("heading", None)
    if shared:
        metadata["heading"] = " > ".join(shared)
    return Document(id=document.id, page_content=text, metadata=metadata)
