"""An ensemble over documents by output probabilities (REPLUG)."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveFloat, PositiveInt

from rag.flow import RunContext
from rag.models import LLM, Generation, Sampling
from rag.operators.answering import NOTHING_FOUND, AnswerOperator, nothing_found
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, limit_field, prompt_field
from rag.operators.scores import score_of, softmax_weights


class Replug(AnswerOperator):
    """Answers from all documents in parallel by mixing next-token distributions (REPLUG).

    Shi et al. 2023 (arXiv 2301.12652, section 3.2): one prompt for each document, weighted by the
    softmax of the documents' scores. The paper takes the softmax of cosines; scores are scaled to
    0..1 first here, as every ranking has a scale of its own. For documents that should not
    compete for one window. Local models only. LLM calls: 1 answer, each token computed once for
    every document.
    Reads `query`, `documents` and, if present, `history` (as `generate` does); writes `answer`
    and `generation`.
    Example: `{use: replug, score_temperature: 0.1}`
    """

    writes = ("answer", "generation")

    score_temperature: PositiveFloat = Field(
        default=0.1, description="of the softmax over scores; lower: more weight to the first"
    )
    max_tokens: PositiveInt | None = limit_field(64)
    system: str | None = prompt_field("generate")

    async def run(
        self,
        query: str,
        documents: list[Document],
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> tuple[str, Generation]:
        """The answer, and how it was generated.

        Raises:
            ModelError: The model gives no log-probabilities.
        """
        if not documents:
            return NOTHING_FOUND, nothing_found()
        call = ModelCall(llm, ctx)
        system = self.system or call.texts["generate"].text
        tokens = limit(call, self.max_tokens, 64)
        prompts = [
            fit_prompt(call, system, query, [document], tokens, history=history)
            for document in documents
        ]
        scores = [score_of(document) or 0.0 for document in documents]
        weights = softmax_weights(scores, self.score_temperature)
        sampling = Sampling(max_tokens=tokens, **self.sampling)
        done = await call.ensemble(prompts, weights, sampling)
        return done.text.strip(), done
