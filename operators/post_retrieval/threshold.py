"""Selection by score."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.operators.scores import score_of


class Threshold(Operator):
    """Keeps the documents whose score reaches a minimum, or a share of the best score.

    What scores mean depends on the operator: a cosine is between -1 and 1, BM25 has no upper
    limit. `by` uses the score of one operator, whatever came after it. A document without that
    score is kept, with a warning. For questions that the corpus may not answer: weak documents
    mislead the model.
    Reads `documents`; writes `documents` in the same order; possibly none.
    Example: `{use: threshold, minimum: 0.3, by: dense}`
    """

    writes = "documents"
    light = True

    minimum: float | None = Field(default=None, description="lowest score to keep")
    share: float | None = Field(
        default=None, ge=0, le=1, description="share of the best score, if that is above 0"
    )
    by: str | None = Field(
        default=None, description="operator whose score is used; default: the last one"
    )

    def run(self, documents: list[Document], *, ctx: RunContext) -> list[Document]:
        """The documents that pass."""
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
