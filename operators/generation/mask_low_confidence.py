"""Active retrieval (FLARE): a query from the confident part of a sentence."""

from __future__ import annotations

import math
import re

from pydantic import Field

from rag.flow import Operator
from rag.text.abstention import refuses


class MaskLowConfidence(Operator):
    """Turns a sentence into a query by masking its low-confidence tokens.

    FLARE's implicit query (arXiv 2305.06983, section 3.2.2), for a sentence of `next_sentence`
    whose confidence is low. If nothing is left, or the model declined, the question is the query.
    No LLM call.
    Reads `query`, `sentence` and `tokens`; writes `search`.
    Example: `{use: mask_low_confidence, threshold: 0.4}`
    """

    writes = "search"
    light = True

    threshold: float = Field(
        default=0.4, ge=0, le=1, description="probability from which a token is kept"
    )

    def run(self, query: str, sentence: str, tokens: list[tuple[str, float]]) -> str:
        """The sentence without unlikely tokens; with the question if there are no tokens."""
        if refuses(sentence):
            return query
        if not tokens:
            return f"{query} {sentence}".strip()
        kept = "".join(
            text if math.exp(logprob) >= self.threshold else re.sub(r"\S", "", text) or " "
            for text, logprob in tokens
        )
        found = " ".join(kept.split())
        return found if re.search(r"\w{3}", found) else query
