"""A judge by the confidence of an answer."""

from __future__ import annotations

from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import Generation
from rag.operators.judging import mean_probability


class ConfidenceJudge(Operator):
    """Judges whether the model was confident: the mean probability of the answer's tokens.

    After `generate` with `logprobs: true`: the confidence of the generated tokens as in Modular
    RAG's rule judge (arXiv 2407.21059, section IV-F-2), for flows that retrieve again when the
    model is unsure. Without log-probabilities the confidence is 0, with a warning. No LLM call.
    Reads `generation`; writes `sufficient` and `confidence`, 0 to 1 (geometric mean).
    Example: `{use: confidence_judge, threshold: 0.6}`
    """

    writes = ("sufficient", "confidence")
    light = True

    threshold: float = Field(default=0.6, ge=0, le=1, description="confidence that is needed")

    def run(self, generation: Generation, *, ctx: RunContext) -> tuple[bool, float]:
        """Whether the confidence is sufficient, and the confidence."""
        if not generation.logprobs:
            ctx.warn("the answer has no log-probabilities: its confidence is 0")
            return False, 0.0
        confidence = mean_probability(generation.logprobs)
        return confidence >= self.threshold, confidence
