"""Prompt compression: predictable words are left out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.model_call import ModelCall
from rag.text.scripts import UNSPACED

_WORD = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")


class Compress(Operator):
    """Leaves out the most predictable words until the documents fit a token budget.

    Selective Context (Li et al. 2023, arXiv 2310.06201), word by word: a word's self-information
    is the mean surprisal of its tokens, and those with the highest stay, in their order, within
    one budget for all documents. For contexts too long for a large model, which can guess what is
    missing; small models answer better with `select_sentences`. The result is no longer text to
    quote from. Needs a model that gives log-probabilities, such as a local one. LLM calls:
    documents.
    Reads `documents`; writes `documents` that kept a word, in the same order. If no word fits
    the budget, the first document keeps its most informative one, with a warning.
    Example: `{use: compress, ratio: 0.5}`
    """

    writes = "documents"

    ratio: float = Field(default=0.5, gt=0, le=1, description="share of the tokens to keep")
    tokens: PositiveInt | None = Field(
        default=None, description="tokens to keep in total, instead of the ratio"
    )

    async def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """The compressed documents.

        Raises:
            ModelError: The model gives no log-probabilities.
        """
        call = ModelCall(llm, ctx)
        words: list[_Word] = []
        total = 0
        for number, document in enumerate(documents):
            if not document.page_content.strip():
                continue
            surprisals = await call.token_surprisals(document.page_content)
            total += len(surprisals)
            words.extend(_words(number, document.page_content, surprisals))
        budget = int(total * self.ratio) if self.tokens is None else self.tokens
        if total <= budget:
            return [document for document in documents if document.page_content.strip()]
        kept: dict[int, list[_Word]] = {}
        left = budget
        for word in sorted(words, key=lambda word: -word.surprisal):
            if word.tokens <= left:
                left -= word.tokens
                kept.setdefault(word.document, []).append(word)
        if not kept:
            ctx.warn(f"no word fits the budget of {budget} tokens: one word is kept")
            best = max(
                (word for word in words if word.document == words[0].document),
                key=lambda word: word.surprisal,
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
    surprisal: float
    """In nats, the mean over its tokens."""


def _words(
    document: int, text: str, surprisals: Sequence[tuple[int, int, float]]
) -> Iterator[_Word]:
    """The text's words; a token that spans several counts for the first of them."""
    tokens = deque(surprisals)
    for match in _WORD.finditer(text):
        own: list[float] = []
        while tokens and tokens[0][0] < match.end():
            own.append(tokens.popleft()[2])
        mean = sum(own) / len(own) if own else 0.0
        yield _Word(document, *match.span(), max(len(own), 1), mean)


def _joined(text: str, words: list[_Word]) -> str:
    """The words in their order, with a space if there was one between them."""
    pieces: list[str] = []
    end = 0
    for word in sorted(words, key=lambda word: word.start):
        if pieces and any(character.isspace() for character in text[end : word.start]):
            pieces.append(" ")
        pieces.append(text[word.start : word.end])
        end = word.end
    return "".join(pieces)
