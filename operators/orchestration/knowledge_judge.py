"""A judge of what the model knows without retrieval."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.history import History
from rag.operators.judging import judged, mean_probability
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field
from rag.text.abstention import abstains


class KnowledgeJudge(Operator):
    """Judges whether the model knows the answer without retrieval.

    It answers from memory; its confidence is the mean probability of the tokens (Jiang et al.
    2023, arXiv 2305.06983, section 3.2.1). A model that gives no log-probabilities is asked
    how sure it is. Modular RAG's scheduling by knowledge (arXiv 2407.21059, section IV-F-2),
    for flows that retrieve only if needed. LLM calls: 1, or 2 without log-probabilities.
    Reads `query` and, if present, `history` (as `generate` does); writes `known`, and the answer
    from memory as `answer`.
    Example: `{use: knowledge_judge, threshold: 0.8}`
    """

    writes = ("known", "answer")
    span_kind = "LLM"

    threshold: float = Field(default=0.8, ge=0, le=1, description="confidence that is needed")
    max_tokens: PositiveInt | None = limit_field(64)
    system: str | None = prompt_field("knowledge_judge")
    judge_system: str | None = prompt_field("grade_knows")

    async def run(
        self, query: str, history: History | None = None, *, llm: LLM, ctx: RunContext
    ) -> tuple[bool, str]:
        """Whether the answer from memory is known, and that answer."""
        if not query.strip():
            return False, ""
        call = ModelCall(llm, ctx)
        system = self.system or call.texts["knowledge_judge"].text
        done = await ask(
            call, system, query, history=history, max_tokens=limit(call, self.max_tokens, 64),
            logprobs=call.has_logprobs,
        )  # fmt: skip
        answer = done.text.strip()
        if abstains(answer):
            return False, answer
        if done.logprobs:
            confidence = mean_probability(done.logprobs)
        else:
            confidence = await judged(
                call,
                "grade",
                self.judge_system or call.texts["grade_knows"].text,
                query,
                history=history,
            )
        return confidence >= self.threshold, answer
