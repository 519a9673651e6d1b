"""Answers that are quotations."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import Embedder
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.operators.selection import similar_sentences
from rag.operators.support import support
from rag.text.chunk import Chunk


class Quote(Operator):
    """Answers with the sentence of the documents that answers, word for word.

    The sentence, or row of a table, that is most similar to the query (answer sentence selection,
    Yang, Yih and Meek 2015, section 3), and the next one too if it is nearly as similar.
    Nothing is made up: for a small model, whose own sentences are mostly wrong. Whether it answers
    goes by the mean of two shares, 0 to 1: its similarity, and how many words of the query are in
    its document, title and heading. Below `threshold` the answer is that the sources do not say.
    No LLM call.
    Reads `query` and `documents`; writes `answer`, and that mean as `confidence`.
    Example: `{use: quote, threshold: 0.57}`
    """

    writes = ("answer", "confidence")

    threshold: float = Field(
        default=0.57, ge=0, le=1,
        description="confidence below which nothing is quoted; chosen for all-minilm-l6-v2",
    )  # fmt: skip
    margin: float = Field(
        default=0.1, ge=0,
        description="how much less similar a second sentence may be; 0: there is none",
    )  # fmt: skip

    def run(
        self, query: str, documents: list[Document], *, embedder: Embedder, ctx: RunContext
    ) -> tuple[str, float]:
        """The quotation and the confidence."""
        found = similar_sentences(query, documents, embedder) if query.strip() else []
        if not found:
            return _said(DO_NOT_KNOW if documents else NOTHING_FOUND, ctx), 0.0
        best = found[0]
        words = support(query, Chunk.of(documents[best.document]).embedding_text)
        confidence = (max(best.similarity, 0.0) + words) / 2
        if confidence < self.threshold:
            return _said(DO_NOT_KNOW, ctx), confidence
        near = [one for one in found[1:2] if best.similarity - one.similarity < self.margin]
        return _said(" ".join(one.read for one in sorted([best, *near])), ctx), confidence


def _said(answer: str, ctx: RunContext) -> str:
    ctx.token(answer)
    return answer
