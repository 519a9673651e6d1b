"""Question-aware prompt compression (LongLLMLingua)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.llm import no_logprobs_error
from rag.operators.documents import unique
from rag.operators.judging import log_likelihood
from rag.operators.model_call import ModelCall
from rag.operators.prompting import prompt_field
from rag.operators.scores import ranked
from rag.text.sentences import spans

_NUMBER = re.compile(r"\d")
_HEADING = re.compile(r"#{1,6}\s")
Token = tuple[int, int, float]
"""First character, end and surprisal in nats."""
Piece = tuple[int, int, int, float]
"""First character, end, tokens and importance of a sentence."""


class CompressByQuestion(Operator):
    """Leaves out the sentences that the question explains least, until a share of tokens is left.

    LongLLMLingua (Jiang et al. 2023, arXiv 2310.06839, section 4), sentence by sentence instead of
    token by token, so that no number loses its unit and the rest can be quoted: documents are
    ordered by how likely they make the question (4.1), the first ones keep more of their tokens
    (4.3), and within one a sentence counts by its contrastive perplexity, how much likelier its
    tokens get behind the question (4.2): likelier than behind one about anything, since whatever
    precedes a text makes its first sentences likelier. A heading stays with what follows it, a
    row of a table is a sentence; of sentences alike the one with a number stays. For long
    contexts. Needs a model that scores texts, such as a local one. LLM calls: 3 for each document.
    Reads `query` and `documents`; writes `documents`, the most likely first, each with a
    sentence at least.
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
        there = [one for one in unique(documents).values() if one.page_content.strip()]
        if not there or not query.strip():
            return there
        call = ModelCall(llm, ctx)
        if not call.scores:
            raise no_logprobs_error(llm.id, self.use)
        system = self.system or call.texts["question_of"].text
        about = f"{call.texts['any_question'].text}\n"

        async def likelihood(document: Document) -> float:
            return (await log_likelihood(call, query, [document], system)).mean

        async def compressed(ranking: tuple[int, Document]) -> Document:
            place, document = ranking
            text = document.page_content
            anything = await call.token_surprisals(text, after=about)
            behind = await call.token_surprisals(text, after=f"{query}\n")
            position = place / max(len(there) - 1, 1)
            share = min(max(self.ratio + self.spread * (1 - 2 * position) / 2, 0), 1)
            pieces = [_weighed(text, span, anything, behind, self.numbers) for span in _spans(text)]
            shown = _joined(text, _chosen(pieces, share * len(behind)))
            return document.model_copy(update={"page_content": shown})

        scores = await call.together(likelihood, there)
        return await call.together(compressed, enumerate(ranked(there, scores, self.use)))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """First character and end of each sentence or row; a heading begins with what follows it."""
    begun: int | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        heading = _HEADING.match(line)
        for start, end in [(0, len(line.rstrip()))] if heading else spans(line):
            first = at + start if begun is None else begun
            begun = first if heading else None
            if not heading:
                yield first, at + end
        at += len(line)
    if begun is not None:
        yield begun, len(text.rstrip())


def _weighed(
    text: str, span: tuple[int, int], anything: Sequence[Token], behind: Sequence[Token],
    bonus: float,
) -> Piece:  # fmt: skip
    """A sentence with its importance: the surprisal that the question takes away, in nats a token.

    Args:
        text: The document's.
        span: First character and end of the sentence.
        anything: The tokens behind a question about anything.
        behind: And behind the question itself.
        bonus: For a number.
    """
    start, end = span
    before = [value for at, _, value in anything if start <= at < end]
    after = [value for at, _, value in behind if start <= at < end]
    gain = sum(before) / max(len(before), 1) - sum(after) / max(len(after), 1)
    return start, end, len(after), gain + (bonus if _NUMBER.search(text[start:end]) else 0.0)


def _chosen(pieces: Sequence[Piece], budget: float) -> list[Piece]:
    """The most important sentences within the budget, in their order; at least one."""
    left = budget
    chosen: list[Piece] = []
    for piece in sorted(pieces, key=lambda one: -one[3]):
        if piece[2] <= left or not chosen:
            chosen.append(piece)
            left -= piece[2]
    return sorted(chosen)


def _joined(text: str, pieces: Sequence[Piece]) -> str:
    """The sentences as they stand in the text; those between them leave a space or a line."""
    parts: list[str] = []
    last = 0
    for start, end, *_ in pieces:
        if parts:
            parts.append("\n" if "\n" in text[last:start] else " ")
        parts.append(text[start:end])
        last = end
    return "".join(parts)
