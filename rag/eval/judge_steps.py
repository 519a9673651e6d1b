"""What a judge asks a language model: an answer's claims, and whether it is correct."""

from __future__ import annotations

from rag.flow import Operator, RunContext
from rag.models import LLM, Sampling
from rag.models.list_output import lines
from rag.operators.claims import MARK, claims_of
from rag.operators.judging import judged
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, with_answer

CLAIM_TOKENS = 256
"""A small model's limit for the claims of an answer."""
MOST_CLAIMS = 30


class ExtractClaims(Operator):
    """Splits an answer into statements that can be understood alone.

    The first step of RAGAS's faithfulness (Es et al. 2023, arXiv 2309.15217, section 3). Where
    the model writes none, the answer's sentences are its statements. One LLM call.
    Reads `query` and `answer`; writes `statements`.
    """

    writes = "statements"
    span_kind = "LLM"

    async def run(self, query: str, answer: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """The statements; those of an answer without a word are none."""
        plain = MARK.sub("", answer).strip()
        own = [one for one in claims_of(plain) if one]
        if not own:
            return []
        call = ModelCall(llm, ctx)
        text, room = call.texts["claims"].text, limit(call, None, CLAIM_TOKENS)
        question = with_answer(call, query, plain)
        prompt = fit_prompt(call, "", question, (), room, then=text)
        done = await call.generate(prompt, Sampling(max_tokens=room))
        return lines(done.text, MOST_CLAIMS) or own


class GradeCorrectness(Operator):
    """Grades an answer by a reference: the mean grade from 0 to 4, divided by 4.

    Graded as G-Eval does (Liu et al. 2023, arXiv 2303.16634, section 2). One LLM call.
    Reads `query`, `answer` and `reference`; writes `correctness`.
    """

    writes = "correctness"
    span_kind = "LLM"

    async def run(
        self, query: str, answer: str, reference: str, *, llm: LLM, ctx: RunContext
    ) -> float:
        """The grade, 0 to 1."""
        call = ModelCall(llm, ctx)
        question = with_answer(call, query, reference, "reference")
        question = with_answer(call, question, MARK.sub("", answer).strip())
        return await judged(call, "grade", call.texts["grade_correct"].text, question)
