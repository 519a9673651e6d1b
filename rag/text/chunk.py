"""A chunk: a piece of a document's text, and what is known of it by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.documents import Document

HEADINGS = " > "
"""What stands between the headings of a chunk."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text, or all of it, with its metadata.

    Metadata come from loaders, users and other systems, so anything may be in them. A property
    is empty or None where its key is missing or holds something of another type; numbers may
    also be given as text.

    Attributes:
        text: The text.
        metadata: Everything that is known of it; metadata filters see this.
        id: Unique in an index; None: it was never in one.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None

    @classmethod
    def of(cls, document: Document) -> Self:
        """A LangChain document as a chunk, which sees the document's metadata."""
        return cls(document.page_content, document.metadata, document.id)

    def document(self, /, **metadata: Any) -> Document:
        """The chunk as a LangChain document, with further metadata."""
        return Document(id=self.id, page_content=self.text, metadata={**self.metadata, **metadata})

    def updated(self, /, **metadata: Any) -> Chunk:
        """The chunk with further metadata."""
        return Chunk(self.text, {**self.metadata, **metadata}, self.id)

    def piece(
        self,
        start: int,
        end: int,
        headings: Sequence[str] = (),
        parents: Sequence[int] = (),
        rows: tuple[int, int] | None = None,
    ) -> Chunk:
        """A part of this text that knows where it stands.

        Args:
            start: Its first character.
            end: The character behind its last.
            headings: What it stands under, outermost first.
            parents: Where the larger chunks that it is in start, outermost first.
            rows: The first and the last row of a table that it holds.
        """
        metadata: dict[str, Any] = {**self.metadata, "start": start, "end": end}
        if headings:
            metadata["heading"] = HEADINGS.join(headings)
        if parents:
            metadata["parents"] = list(parents)
        if rows:
            metadata["rows"] = list(rows)
        return Chunk(self.text[start:end], metadata)

    @property
    def source(self) -> str:
        """The URI of the document that it comes from: unique in an index."""
        return self._text("source")

    @property
    def path(self) -> str:
        """The file's name as readers know it, relative to the folder that was ingested."""
        return self._text("path")

    @property
    def title(self) -> str:
        """The document's title."""
        return self._text("title")

    @property
    def heading(self) -> str:
        """What it stands under: `Locks > North lock`."""
        return self._text("heading")

    @property
    def headings(self) -> tuple[str, ...]:
        """What it stands under, outermost first."""
        return tuple(self.heading.split(HEADINGS)) if self.heading else ()

    @property
    def language(self) -> str:
        """The programming language; "" for prose."""
        return self._text("language")

    @property
    def page(self) -> int | str | None:
        """The page of a paged document, from 1; a text where that is how pages are named."""
        found = self.metadata.get("page")
        return found if isinstance(found, int | str) and not isinstance(found, bool) else None

    @property
    def page_label(self) -> str:
        """What is printed on the page, where that is not its number: `iv`."""
        return self._text("page_label")

    @property
    def rows(self) -> tuple[int, int] | None:
        """The first and the last row of a table, or line of records, from 1."""
        found = self.metadata.get("rows")
        if not isinstance(found, list | tuple) or len(found) != 2:
            return None
        return int(found[0]), int(found[1])

    @property
    def start(self) -> int | None:
        """Its first character in the text of the document (with pages, of the page)."""
        return self._number("start")

    @property
    def end(self) -> int | None:
        """The character behind its last, as `start`."""
        return self._number("end")

    @property
    def position(self) -> tuple[int, int]:
        """Page and first character, by which the chunks of one source are in order."""
        return self._number("page") or 0, self.start or 0

    @property
    def parents(self) -> tuple[int, ...]:
        """Where the larger chunks that it was cut from start, outermost first."""
        found = self.metadata.get("parents")
        return tuple(found) if isinstance(found, list | tuple) else ()

    @property
    def written_as(self) -> str:
        """What a model wrote it as: `proposition` or `summary`; "": it was cut from the text."""
        return self._text("written_as")

    @property
    def within(self) -> str:
        """Digest of the document whose text its vector is pooled from; "": of itself alone."""
        return self._text("pooled_within")

    @property
    def embedding_text(self) -> str:
        """The text behind its title and headings, which say what it is about."""
        return "\n".join([*self._head(), self.text])

    @property
    def indexed_text(self) -> str:
        """What is embedded and indexed: `embedding_text`, and what a model wrote of the chunk.

        What situates the chunk in its document (`context`) precedes the text; questions and a
        summary (`rag.index.ingest.describe`) follow it, or replace it where the metadata
        `found_by` says so.
        """
        questions = self.metadata.get("questions")
        written = {
            "questions": "\n".join(map(str, questions))
            if isinstance(questions, list | tuple)
            else "",
            "summary": self._text("summary"),
        }
        instead = written.get(self._text("found_by"), "")
        before, behind = filter(None, [self._text("context")]), filter(None, written.values())
        body = [instead] if instead else [*before, self.text, *behind]
        return "\n".join([*self._head(), *body])

    def _head(self) -> list[str]:
        head = [line for line in (self.title, self.heading) if line]
        if len(head) == 2 and head[1].startswith(head[0]):
            head = head[1:]
        beginning = self.text.lstrip("# ")
        return [line for line in head if not beginning.startswith(line)]

    def _text(self, key: str) -> str:
        found = self.metadata.get(key)
        return "" if found is None else str(found)

    def _number(self, key: str) -> int | None:
        found = self.metadata.get(key)
        if isinstance(found, str) and found.isdecimal():
            return int(found)
        if isinstance(found, float) and found.is_integer():
            return int(found)
        return found if isinstance(found, int) and not isinstance(found, bool) else None
