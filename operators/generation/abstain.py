"""Abstention from answers without support."""

from __future__ import annotations

from pydantic import Field

from rag.flow import Operator
from rag.operators.answering import DO_NOT_KNOW
from rag.text.abstention import abstains


class Abstain(Operator):
    """Replaces an answer without enough support by "The sources do not say.".

    After `verify`, for cases where a wrong answer costs more than none (selective answering,
    Kamath et al. 2020, arXiv 2006.09462, section 3). An answer that says so already stays, with
    what it says is missing. No LLM call.
    Reads `answer` and `support`; writes `answer`.
    Example: `{use: abstain, threshold: 0.5}`
    """

    writes = "answer"
    light = True

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that an answer needs")
    text: str = Field(default=DO_NOT_KNOW, description="the answer instead")

    def run(self, answer: str, support: float) -> str:
        """The answer or the replacement."""
        if not answer.strip():
            return self.text
        return answer if support >= self.threshold or abstains(answer) else self.text
