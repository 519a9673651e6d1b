"""The answer to a question: its text, its sources, what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from rag.operators.scores import score_of
from rag.plain import plain
from rag.serve.documents.links import link_of
from rag.text.chunk import Chunk
from rag.text.location import location

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag.operators.generation.cite import Citation

_OWN_FIELD = frozenset({"query", "answer", "documents", "citations", "generation"})
"""Channels that an `Answer` has fields for."""


class AnswerSource(BaseModel):
    """A document that the answer was made from."""

    number: int = Field(description="the [n] in the answer, from 1")
    id: str | None
    title: str | None
    path: str = Field(description="the document's file as readers know it; may be empty")
    page: int | str | None = Field(description="of a document with pages, from 1, or its name")
    place: str = Field(description="path, page, heading: where to look")
    link: str | None = Field(
        description="opens the document at the passage: a path relative to the server's address, "
        "or an address on the web; null: there is nothing to open"
    )
    text: str
    start: int | None = Field(description="first character in the loaded document")
    end: int | None = Field(description="behind the last one")
    score: float | None
    cited: bool
    quote: str | None = Field(description="the sentence that supports the answer most")
    support: float | None = Field(description="share of the citing sentence's words, 0 to 1")


class Usage(BaseModel):
    """What a run used."""

    prompt_tokens: int = Field(description="of the generation")
    completion_tokens: int = Field(description="of the generation")
    llm_calls: int
    tokens: int = Field(description="read and written, all calls")


class Answer(BaseModel):
    """An answer with its sources."""

    run: str
    query: str = Field(description="as it was searched for: it stands alone")
    answer: str | None
    abstained: bool = Field(description="whether the answer says that there is none")
    sources: list[AnswerSource]
    outputs: dict[str, Any] = Field(description="the flow's other outputs")
    seconds: float
    first_token: float | None = Field(description="seconds")
    waited: float | None = Field(description="seconds in the queue")
    finish: str = Field(description="stop or length")
    usage: Usage
    reuse: dict[str, Any] | None = Field(description="what was taken from stored states")


def sources(channels: Mapping[str, Any], pipeline: str | None) -> list[AnswerSource]:
    """The documents that the answer was made from, numbered from 1.

    Args:
        channels: `documents`, best first, and `citations` of the answer, where there are any.
        pipeline: Whose index they are of; None: of none that can be opened.
    """
    documents: Sequence[Document] = channels.get("documents") or ()
    citations: Sequence[Citation] = channels.get("citations") or ()
    cited = {citation.number: citation for citation in citations}
    found = []
    for number, document in enumerate(documents, start=1):
        chunk, citation, score = Chunk.of(document), cited.get(number), score_of(document)
        found.append(
            AnswerSource(
                number=number,
                id=document.id,
                title=chunk.title or None,
                path=chunk.path,
                page=chunk.page,
                place=location(document),
                link=link_of(chunk, pipeline, citation.quote if citation else None),
                text=document.page_content,
                start=chunk.start,
                end=chunk.end,
                score=None if score is None else round(score, 6),
                cited=citation is not None,
                quote=citation.quote if citation else None,
                support=citation.support if citation else None,
            )
        )
    return found


def outputs(result: Mapping[str, Any]) -> dict[str, Any]:
    """The output channels that an `Answer` has no field for, as JSON."""
    return {name: plain(value) for name, value in result.items() if name not in _OWN_FIELD}
