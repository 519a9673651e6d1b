"""Verification of the answer by a language model."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.claims import Claim, claims_of, supported, unmarked
from rag.operators.judging import By, PromptField, judged
from rag.operators.model_call import ModelCall
from rag.operators.prompting import with_answer


class VerifyLLM(Operator):
    """Asks the model for each sentence of the answer whether a document supports it.

    Asked with each document alone (FActScore, Min et al. 2023, arXiv 2305.14251, section 3): the
    probability of Yes if the model scores texts, else a grade from 0 to 4, as 0 to 1. For
    models of several billion parameters: small ones answer Yes or No regardless. LLM calls:
    sentences x documents.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify_llm}`
    """

    writes = ("claims", "support")
    span_kind = "LLM"

    by: Literal["answer", "grade"] | None = Field(
        default=None, description="how to judge; default: answer if the model scores texts"
    )
    system: PromptField = None

    async def run(
        self, answer: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[list[Claim], float]:
        """The claims with their support; an answer without a claim has support 0."""
        call = ModelCall(llm, ctx)
        by, system = self._method(call)
        claims = [unmarked(claim) for claim in claims_of(answer)]

        async def supports(pair: tuple[str, Document]) -> float:
            question = with_answer(call, "", pair[0], "statement").strip()
            return await judged(call, by, system, question, [pair[1]])

        flat = await call.together(
            supports, [(claim, one) for claim in claims for one in documents]
        )
        width = len(documents)
        return supported(answer, [flat[at * width :][:width] for at in range(len(claims))])

    def _method(self, call: ModelCall) -> tuple[By, str]:
        by: By = self.by or ("answer" if call.scores else "grade")
        return by, self.system or call.texts["verify" if by == "answer" else "grade_verify"].text
