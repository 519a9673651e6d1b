"""Question-aware prompt compression (LongLLMLingua)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.documents import unique
from rag.operators.judging import log_likelihood
from rag.operators.model_call import ModelCall
from rag.operators.prompting import prompt_field
from rag.operators.scores import ranked
from rag.text.sentences import spans

_FACT = re.compile(r"\d")
Piece = tuple[int, int, int, float]
"""First character, end, tokens and importance of a sentence."""


class CompressByQuestion(Operator):
    """Leaves out the sentences that tell least about the question, until a share of tokens is left.

    LongLLMLingua (Jiang et al. 2023, arXiv 2310.06839, section 4), sentence by sentence instead of
    token by token, so that no number loses its unit and the rest can be quoted: documents are
    ordered by how likely they make the question (4.1), the first ones keep more of their tokens
    (4.3), and within one a sentence counts by its contrastive perplexity, how much likelier its
    tokens get behind the question (4.2). A number is never cut, and of sentences alike the one
    with a number stays. For long contexts. Needs a model that scores texts, such as a local one.
    LLM calls: 3 for each document.
    Reads `query` and `documents`; writes `documents` that kept a sentence, the most likely first.
    Example: `{use: compress_by_question, ratio: 0.5}`
    """

    writes = "documents"

    ratio: float = Field(default=0.5, gt=0, le=1, description="share of the tokens to keep")
    spread: float = Field(
        default=0.3, ge=0, le=1,
        description="how much larger the share of the first document is, and smaller of the last",
    )  # fmt: skip
    numbers: float = Field(
        default=0.1, ge=0, description="added importance of a sentence with a number, in nats"
    )
    system: str | None = prompt_field("question_of")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[Document]:
        """The compressed documents.

        Raises:
            ModelError: The model gives no log-probabilities.
        """
        found = [one for one in unique(documents).values() if one.page_content.strip()]
        if not found or not query.strip():
            return found
        call = ModelCall(llm, ctx)
        system = self.system or call.texts["question_of"].text

        async def likelihood(document: Document) -> float:
            return (await log_likelihood(call, query, [document], system)).mean

        scores = await call.together(likelihood, found)
        kept = []
        for place, document in enumerate(ranked(found, scores, self.use)):
            text = document.page_content
            plain = await call.token_surprisals(text)
            asked = await call.token_surprisals(text, after=f"{query}\n")
            position = place / max(len(found) - 1, 1)
            share = min(max(self.ratio + self.spread * (1 - 2 * position) / 2, 0), 1)
            pieces = list(_pieces(text, plain, asked, self.numbers))
            chosen = _chosen(pieces, share * len(plain))
            if chosen:
                shown = " ".join(text[start:end] for start, end, *_ in chosen)
                kept.append(document.model_copy(update={"page_content": shown}))
        return kept


def _pieces(
    text: str,
    plain: Sequence[tuple[int, int, float]],
    asked: Sequence[tuple[int, int, float]],
    bonus: float,
) -> Iterator[Piece]:
    """The text's sentences with their importance: surprisal that the question takes away."""
    for start, end in spans(text):
        before = [value for at, _, value in plain if start <= at < end]
        after = [value for at, _, value in asked if start <= at < end]
        gain = sum(before) / max(len(before), 1) - sum(after) / max(len(after), 1)
        number = bonus if _FACT.search(text[start:end]) else 0.0
        yield start, end, len(before), gain + number


def _chosen(pieces: Sequence[Piece], budget: float) -> list[Piece]:
    """The most important sentences within the budget, in their order; at least one."""
    left = budget
    chosen: list[Piece] = []
    for piece in sorted(pieces, key=lambda one: -one[3]):
        if piece[2] <= left or not chosen:
            chosen.append(piece)
            left -= piece[2]
    return sorted(chosen)
