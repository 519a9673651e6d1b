"""Citations, checked against the sources."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow import Operator, RunContext
from rag.operators.documents import location
from rag.operators.scores import score_of
from rag.operators.support import support
from rag.text.chunk import Chunk
from rag.text.sentences import STOPS, sentences, spans

MARK = re.compile(r"\s*\[(\d{1,3})\]")
"""A citation mark: the number of a source."""


class Citation(BaseModel):
    """A source that the answer cites."""

    number: int = Field(description="the [n] in the answer")
    source: str = Field(description="where the document came from")
    title: str | None = None
    place: str = Field(description="path, page, heading: where to look")
    start: int | None = Field(default=None, description="first character in the loaded document")
    end: int | None = Field(default=None, description="after the last character")
    score: float | None = Field(default=None, description="score of the last ranking")
    support: float = Field(description="share of the citing sentence's words in it, 0 to 1")
    quote: str = Field(description="the sentence of the source that supports most")


class Cite(Operator):
    """Adds `[n]` to each sentence of the answer that a source supports, and lists the sources.

    Support is the share of the sentence's content words (numbers count double) that the source
    contains. Marks by the model are kept only if their source exists and supports the sentence; a
    sentence without a mark gets the best source's. So a citation always points to a document that
    contains the words. For every answer that people read. Checks what citation precision and
    recall measure in ALCE (Gao et al. 2023, arXiv 2305.14627, section 4.3), by words instead of
    an entailment model. No LLM call.
    Reads `answer` and `documents`; writes `answer` and `citations`.
    Example: `{use: cite, threshold: 0.5}`
    """

    writes = ("answer", "citations")
    light = True

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that a citation needs")

    def run(
        self, answer: str, documents: list[Document], *, ctx: RunContext
    ) -> tuple[str, list[Citation]]:
        """The answer with checked marks, and its citations by number."""
        texts = [document.page_content for document in documents]
        cited: dict[int, tuple[float, str]] = {}
        pieces: list[str] = []
        last = 0
        for start, end in spans(answer):
            sentence = answer[start:end]
            plain = MARK.sub("", sentence)
            own = [int(number) for number in MARK.findall(sentence)]
            marks = self._marks(plain, own, texts)
            for wrong in set(own) - set(marks):
                ctx.warn(f"the citation [{wrong}] is not supported and was removed")
            for number, supported in marks.items():
                if supported > cited.get(number, (0.0, ""))[0]:
                    cited[number] = (supported, plain)
            pieces += [answer[last:start], _marked(plain, sorted(marks))]
            last = end
        citations = [
            _citation(number, documents[number - 1], *cited[number]) for number in sorted(cited)
        ]
        return "".join(pieces).strip(), citations

    def _marks(self, sentence: str, own: Sequence[int], texts: Sequence[str]) -> dict[int, float]:
        """Source number to support, for the marks that the sentence gets."""
        supports = {n: support(sentence, text) for n, text in enumerate(texts, start=1)}
        kept = {n: supports[n] for n in own if n in supports and supports[n] >= self.threshold}
        if kept or not supports:
            return kept
        best = max(supports, key=lambda number: (supports[number], -number))
        return {best: supports[best]} if supports[best] >= self.threshold else {}


def _marked(sentence: str, numbers: Sequence[int]) -> str:
    """The sentence with its marks before the full stop."""
    if not numbers:
        return sentence
    marks = "".join(f"[{number}]" for number in numbers)
    body = sentence.rstrip(STOPS)
    return f"{body} {marks}{sentence[len(body) :]}"


def _citation(number: int, document: Document, supported: float, sentence: str) -> Citation:
    chunk = Chunk.of(document)
    return Citation(
        number=number,
        source=chunk.source or chunk.path or chunk.id or "",
        title=chunk.title or None,
        place=location(document),
        start=chunk.start,
        end=chunk.end,
        score=score_of(document),
        support=round(supported, 3),
        quote=max(
            sentences(document.page_content, lines=True),
            key=lambda quote: support(sentence, quote),
            default="",
        ),
    )
