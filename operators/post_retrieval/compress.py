"""Compression by surprise: words that a model would have guessed are left out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.text.sentences import SCRIPTS

_WORD = re.compile(f"[{SCRIPTS}]|[^\\s{SCRIPTS}]+")


class Compress(Operator):
    """Leaves out the words that tell least, until the documents fit a budget of tokens.

    A word's surprise is the mean over its tokens of how unlikely the model found them (LLMLingua,
    Jiang et al. 2023, arXiv 2310.05736, section 3.3; whole words as in LLMLingua-2, arXiv
    2403.12968). The budget is shared by all documents: the most surprising words of all stay, in
    their order. Where documents are written for people, half of the words can go; the text is
    then no longer one to quote from. For contexts that are too long for a model that is good at
    guessing what is missing; small models answer better from `extract`.
    Needs a model that tells likelihoods, such as a local one.
    Reads `documents`; writes `documents` that kept a word, order kept. Where the budget holds no
    word, the first document keeps its most surprising one, with a warning.
    Example: `{use: compress, ratio: 0.5}`
    """

    writes = "documents"

    ratio: float = Field(default=0.5, gt=0, le=1, description="share of the tokens to keep")
    tokens: PositiveInt | None = Field(
        default=None, description="tokens to keep in all, in the place of the ratio"
    )

    async def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """Compress.

        Raises:
            ModelError: The model tells no likelihoods.
        """
        words: list[_Word] = []
        total = 0
        for number, document in enumerate(documents):
            if not document.page_content.strip():
                continue
            ctx.spend(llm_calls=1)
            told = await llm.token_surprisal(document.page_content)
            ctx.spend(tokens=len(told))
            total += len(told)
            words.extend(_words(number, document.page_content, told))
        budget = int(total * self.ratio) if self.tokens is None else self.tokens
        if total <= budget:
            return [document for document in documents if document.page_content.strip()]
        kept: dict[int, list[_Word]] = {}
        left = budget
        for word in sorted(words, key=lambda word: -word.surprise):
            if word.tokens <= left:
                left -= word.tokens
                kept.setdefault(word.document, []).append(word)
        if not kept:
            ctx.warn(f"no word fits the budget of {budget} tokens: one word is kept")
            best = max(
                (word for word in words if word.document == words[0].document),
                key=lambda word: word.surprise,
            )
            kept[best.document] = [best]
        return [
            documents[number].model_copy(
                update={"page_content": _joined(documents[number].page_content, kept[number])}
            )
            for number in sorted(kept)
        ]


@dataclass(frozen=True, slots=True)
class _Word:
    document: int
    start: int
    end: int
    tokens: int
    surprise: float
    """Nats, the mean over its tokens."""


def _words(document: int, text: str, told: Sequence[tuple[int, int, float]]) -> Iterator[_Word]:
    """The text's words; a token that reaches over several counts for the first of them."""
    tokens = deque(told)
    for match in _WORD.finditer(text):
        own: list[float] = []
        while tokens and tokens[0][0] < match.end():
            own.append(tokens.popleft()[2])
        mean = sum(own) / len(own) if own else 0.0
        yield _Word(document, *match.span(), max(len(own), 1), mean)


def _joined(text: str, words: list[_Word]) -> str:
    """The words in their order, with a space where there was one between them."""
    pieces: list[str] = []
    end = 0
    for word in sorted(words, key=lambda word: word.start):
        if pieces and any(character.isspace() for character in text[end : word.start]):
            pieces.append(" ")
        pieces.append(text[word.start : word.end])
        end = word.end
    return "".join(pieces)
