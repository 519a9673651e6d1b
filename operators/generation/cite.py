"""Citations: which source supports which sentence of the answer, checked against the sources."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow import Operator, RunContext
from rag.operators.documents import number_of, score_of
from rag.text.sentences import (
    COMMON,
    IDEOGRAMS,
    LETTERS,
    MARKS,
    SCRIPTS,
    STOPS,
    sentences,
    spans,
)

MARK = re.compile(r"\s*\[(\d{1,3})\]")
"""A citation: the number of a source."""
_WORD = re.compile(
    rf"[^\W{SCRIPTS}]+(?:[{MARKS}]+[^\W{SCRIPTS}]*)*(?:[.,]\d+)*"  # 1.5 and 1,000 are one word
)
_PARTICLES = (
    "\u3041-\u309f的了是在和有也就都而及與与或於于之其這这那不我你他她它們们嗎吗呢吧"
    "\u30a0\u30fb\u104a\u104b\u17d4\u17d5"
)
"""What says nothing by itself where no spaces are written: hiragana, Chinese, stops."""
_RUNS = {
    size: re.compile(f"(?:(?![{_PARTICLES}])[{script}])+")
    for size, script in ((2, IDEOGRAMS), (4, LETTERS))
}
"""What is written without spaces, by the characters that a word has there."""


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
    light = True

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that a citation needs")

    def run(
        self, answer: str, documents: list[Document], *, ctx: RunContext
    ) -> tuple[str, list[Citation]]:
        """Check the marks and add what is missing."""
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
            for number, support in marks.items():
                if support > cited.get(number, (0.0, ""))[0]:
                    cited[number] = (support, plain)
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


def support(sentence: str, text: str, *, common: Collection[str] = COMMON) -> float:
    """The share, 0 to 1, of the sentence's content words that stand in the text.

    Numbers weigh twice: a wrong one makes a sentence wrong. Where a script has no spaces between
    words, a character is found if it stands in the text beside the same neighbour (two of Han
    and kana; four in a row of Thai, Lao, Burmese and Khmer), and weighs its part of a word.

    Args:
        sentence: What is to be supported.
        text: What may support it.
        common: Words that do not count.
    """
    wanted = _content(sentence, common)
    there = _content(text, common)
    weights = {word: 2.0 if word[0].isdigit() else 1.0 for word in wanted}
    found, total = sum(weights[word] for word in wanted & there), sum(weights.values())
    for size, pattern in _RUNS.items():
        runs = pattern.findall(sentence)
        whole = "".join(text.split()) if runs else ""  # a line may end within a word
        found += sum(_found(run, whole, size) for run in runs) / size
        total += sum(map(len, runs)) / size
    return found / total if total else 0.0


def _found(run: str, text: str, size: int) -> int:
    """How many characters of the run stand in the text, each with its neighbours."""
    found: set[int] = set()
    for at in range(max(len(run) - size, 0) + 1):
        if run[at : at + size] in text:
            found.update(range(at, min(at + size, len(run))))
    return len(found)


def _content(text: str, common: Collection[str]) -> set[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return {_stem(word) for word in words if word not in common}


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
    body = sentence.rstrip(STOPS)
    return f"{body} {marks}{sentence[len(body) :]}"


def _citation(number: int, document: Document, supported: float, sentence: str) -> Citation:
    metadata = document.metadata
    title = metadata.get("title")
    return Citation(
        number=number,
        source=str(metadata.get("source") or metadata.get("path") or document.id or ""),
        title=None if title is None else str(title),
        place=place(document),
        start=_whole(metadata.get("start")),
        end=_whole(metadata.get("end")),
        score=score_of(document),
        support=round(supported, 3),
        quote=max(
            sentences(document.page_content, lines=True),
            key=lambda quote: support(sentence, quote),
            default="",
        ),
    )


def _whole(value: object) -> int | None:
    """A place in a text; None: it is none."""
    number = number_of(value)
    return int(number) if number is not None and number.is_integer() else None


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
