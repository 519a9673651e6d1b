"""A draft revised by the answers to its verification questions (Chain-of-Verification)."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.answering import AnswerOperator, written
from rag.operators.claims import unmarked
from rag.operators.model_call import ModelCall
from rag.operators.prompting import (
    ask,
    clipped,
    limit,
    limit_field,
    prompt_field,
    with_answer,
)
from rag.prompts.sanitize import harmless
from rag.text.abstention import abstains


class Revise(AnswerOperator):
    """Revises a draft by the answers to questions that check it.

    The last step of Chain-of-Verification (Dhuliawala et al. 2023, arXiv 2309.11495, section
    3.4), between the answers to `verification_queries` and `cite`. A draft that says that the
    sources have no answer is revised too, if a check found one. An empty revision leaves the draft
    as it was. LLM calls: 1, or 0 if no check was answered.
    Reads `query`, `draft`, `queries`, `answer`, one for each of them, and `documents`; writes
    `answer`.
    Example: `{use: revise}`
    """

    writes = "answer"

    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("revise")

    async def run(
        self,
        query: str,
        draft: str,
        queries: list[str],
        answer: list[str],
        documents: list[Document],
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The revised draft."""
        call = ModelCall(llm, ctx)
        pair = call.texts["llm_fusion_pair"]
        room = llm.window // 4 // max(len(queries), 1)
        checks = [
            clipped(
                call, pair.format(question=one, answer=harmless(unmarked(found))), room, "check"
            )
            for one, found in zip(queries, answer, strict=False)
            if not abstains(found)
        ]
        if not checks:
            return draft
        quoted = with_answer(call, query, draft)
        shown = call.texts["revise_checks"].format(draft=quoted, checks="\n".join(checks))
        done = await ask(
            call, self.system or call.texts["revise"].text, shown, documents,
            max_tokens=limit(call, self.max_tokens, 128), **self.sampling,
        )  # fmt: skip
        return written(done, draft)
