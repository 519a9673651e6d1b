"""Verification of the answer by shared words."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator
from rag.operators.attestation import attested
from rag.operators.claims import Claim, claims_of, supported, unmarked
from rag.text.chunk import Chunk


class Verify(Operator):
    """Measures how far the documents support each sentence of the answer, by shared words.

    Support is the share of the sentence's content words in the best document, as in `cite`; none
    if a number, a date or a name is not in it, less if one of both is negated: a cheap stand-in
    for the judgements of FActScore (Min et al. 2023, arXiv 2305.14251, section 3). A claim's
    `problem` is what the document lacks, or says instead.
    For answers that must not say more than their sources; `abstain` acts on it. No LLM call.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify}`
    """

    writes = ("claims", "support")
    light = True

    def run(self, answer: str, documents: list[Document]) -> tuple[list[Claim], float]:
        """The claims with their support; an answer without a claim has support 0."""
        texts = [Chunk.of(document).embedding_text for document in documents]
        rows = [[attested(unmarked(claim), text) for text in texts] for claim in claims_of(answer)]
        scores = [[one.support for one in row] for row in rows]
        return supported(answer, scores, [[one.problem for one in row] for row in rows])
