"""Selection by score: only documents that are good enough."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.operators.documents import score_of


class Threshold(Operator):
    """Keeps the documents whose score reaches a minimum, or a share of the best one's.

    What scores mean differs by operator: a cosine reaches from -1 to 1, BM25 has no upper end.
    `by` takes the score that one operator gave, whatever came after it. A document without that
    score is kept, and told of in a warning: nothing is known of it.
    For questions that the corpus may not answer: weak documents mislead.
    Reads `documents`; writes `documents`, order kept; may be none.
    Example: `{use: threshold, minimum: 0.3, by: dense}`
    """

    writes = "documents"
    light = True

    minimum: float | None = Field(default=None, description="the lowest score that is kept")
    share: float | None = Field(
        default=None, ge=0, le=1, description="of the best score, where that is above 0"
    )
    by: str | None = Field(default=None, description="the operator whose score; the last's")

    def run(self, documents: list[Document], *, ctx: RunContext) -> list[Document]:
        """Choose."""
        scores = [score_of(document, self.by) for document in documents]
        best = max((score for score in scores if score is not None), default=0.0)
        least = [] if self.minimum is None else [self.minimum]
        if self.share is not None and best > 0:
            least.append(self.share * best)
        unknown = scores.count(None)
        if unknown:
            whose = f" of {self.by!r}" if self.by else ""
            ctx.warn(f"{unknown} of {len(documents)} documents have no score{whose}: kept")
        return [
            document
            for document, score in zip(documents, scores, strict=True)
            if score is None or all(score >= limit for limit in least)
        ]
