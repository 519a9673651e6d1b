"""Citations: which source supports which sentence of the answer, checked against the sources."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow import Context, Operator

_MARK = re.compile(r"\s*\[(\d{1,3})\]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(\[])")
_WORD = re.compile(r"\w+(?:[.,]\d+)*")
_COMMON = frozenset(
    """
    a about all also an and any are as at be been but by can do does for from had has have he
    her his how i if in into is it its may more most must no not of on only or other our she
    should so some such than that the their them then there these they this to under was we
    were what when where which who will with would you your source sources according
    """.split()  # noqa: SIM905 - a list of a hundred words reads no better
)


class Citation(BaseModel):
    """A source that the answer cites."""

    number: int = Field(description="the [n] in the answer")
    source: str = Field(description="where the document came from")
    title: str | None = None
    place: str = Field(description="path, page, heading: where to look")
    start: int | None = Field(default=None, description="first character in the loaded document")
    end: int | None = Field(default=None, description="after the last character")
    score: float | None = Field(default=None, description="what the last ranking gave it")
    support: float = Field(description="share of the citing sentence's words found there, 0 to 1")
    quote: str = Field(description="the sentence of the source that supports most")


class Cite(Operator):
    """Puts `[n]` behind each sentence of the answer that a source supports, and lists those.

    Support is the share of the sentence's content words (numbers count double) that stand in
    the source. Marks that the model wrote itself stay only where their source exists and
    supports the sentence; a sentence without a mark gets the best source's. So a citation always
    points to a document in which the words can be found. For every answer that somebody reads.
    What is checked is citation precision and recall as in ALCE (Gao et al. 2023, arXiv
    2305.14627, section 4.3), by words in the place of an entailment model. Asks no model.
    Reads `answer` and `documents`; writes `answer` and `citations`.
    Example: `{use: cite, threshold: 0.5}`
    """

    writes = ("answer", "citations")

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that a citation needs")

    def run(
        self, answer: str, documents: list[Document], *, context: Context
    ) -> tuple[str, list[Citation]]:
        """Check the marks and add what is missing."""
        texts = [document.page_content for document in documents]
        cited: dict[int, tuple[float, str]] = {}
        sentences = []
        for sentence in _SENTENCE.split(answer.strip()):
            plain = _MARK.sub("", sentence)
            own = [int(number) for number in _MARK.findall(sentence)]
            marks = self._marks(plain, own, texts)
            for wrong in set(own) - set(marks):
                context.warn(f"the citation [{wrong}] is not supported and was removed")
            for number, support in marks.items():
                if support > cited.get(number, (0.0, ""))[0]:
                    cited[number] = (support, plain)
            sentences.append(_marked(plain, sorted(marks)))
        citations = [
            _citation(number, documents[number - 1], *cited[number]) for number in sorted(cited)
        ]
        return " ".join(sentences), citations

    def _marks(self, sentence: str, own: Sequence[int], texts: Sequence[str]) -> dict[int, float]:
        """Source number to support, for the marks that the sentence gets."""
        supports = {n: support(sentence, text) for n, text in enumerate(texts, start=1)}
        kept = {n: supports[n] for n in own if supports.get(n, 0.0) >= self.threshold}
        if kept or not supports:
            return kept
        best = max(supports, key=lambda number: (supports[number], -number))
        return {best: supports[best]} if supports[best] >= self.threshold else {}


def support(sentence: str, text: str) -> float:
    """The share, 0 to 1, of the sentence's content words that stand in the text.

    Numbers weigh twice: a wrong one makes a sentence wrong.
    """
    wanted = _content(sentence)
    if not wanted:
        return 0.0
    there = _content(text)
    weights = {word: 2.0 if word[0].isdigit() else 1.0 for word in wanted}
    return sum(weights[word] for word in wanted & there) / sum(weights.values())


def _content(text: str) -> set[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return {_stem(word) for word in words if word not in _COMMON}


def _stem(word: str) -> str:
    """The word without the plural's or the verb's ending; enough to match, not to read."""
    for ending in ("ing", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and word.isalpha():
            return word[: -len(ending)]
    return word


def _marked(sentence: str, numbers: Sequence[int]) -> str:
    """The sentence with its marks before the full stop."""
    if not numbers:
        return sentence
    marks = "".join(f"[{number}]" for number in numbers)
    body = sentence.rstrip(".!?")
    return f"{body} {marks}{sentence[len(body) :]}"


def _citation(number: int, document: Document, supported: float, sentence: str) -> Citation:
    metadata = document.metadata
    quotes = [q.strip() for q in re.split(r"(?<=[.!?])\s+|\n+", document.page_content) if q.strip()]
    return Citation(
        number=number,
        source=str(metadata.get("source") or metadata.get("path") or document.id or ""),
        title=metadata.get("title"),
        place=place(document),
        start=metadata.get("start"),
        end=metadata.get("end"),
        score=metadata.get("score"),
        support=round(supported, 3),
        quote=max(quotes, key=lambda quote: support(sentence, quote), default=""),
    )


def place(document: Document) -> str:
    """Where a reader finds the document: `operations/locks.md, page 3, Locks > North lock`."""
    metadata = document.metadata
    page = metadata.get("page")
    parts = [
        str(metadata.get("path") or metadata.get("source") or document.id or "unknown"),
        f"page {page}" if page is not None else None,
        metadata.get("heading"),
    ]
    return ", ".join(str(part) for part in parts if part)
