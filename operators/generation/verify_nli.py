"""Verification of the answer by natural language inference."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator
from rag.models import NLI
from rag.operators.claims import Claim, claims_of, supported, unmarked


class VerifyNLI(Operator):
    """Measures how far the documents entail each sentence of the answer.

    The probability of entailment by a model of natural language inference, with the document as
    the premise (TRUE, Honovich et al. 2022, arXiv 2204.04991, section 3). Needs the resource
    `nli`. For the best verification at its cost, if such a model is available. No LLM call.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify_nli}`
    """

    writes = ("claims", "support")

    def run(self, answer: str, documents: list[Document], *, nli: NLI) -> tuple[list[Claim], float]:
        """The claims with their support; an answer without a claim has support 0."""
        texts = [document.page_content for document in documents]
        return supported(answer, [nli.entails(texts, unmarked(one)) for one in claims_of(answer)])
