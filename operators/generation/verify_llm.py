"""Verification of the answer by a language model."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.claims import Claim, claims_of, supported
from rag.operators.judging import yes
from rag.operators.model_call import ModelCall
from rag.operators.prompting import prompt_field, with_answer


class VerifyLLM(Operator):
    """Asks the model for each sentence of the answer whether a document supports it.

    The probability of Yes, asked with each document alone (FActScore, Min et al. 2023, arXiv
    2305.14251, section 3). For models of several billion parameters: small ones answer Yes or No
    regardless. LLM calls: sentences x documents.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify_llm}`
    """

    writes = ("claims", "support")
    span_kind = "LLM"

    system: str = prompt_field("verify")

    async def run(
        self, answer: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[list[Claim], float]:
        """The claims with their support; an answer without a claim has support 0."""
        call = ModelCall(llm, ctx)
        scores = []
        for claim in claims_of(answer):
            asked = with_answer(call, "", claim, "statement").strip()
            scores.append([await yes(call, self.system, asked, [one]) for one in documents])
        return supported(answer, scores)
