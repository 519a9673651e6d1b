"""Questions that a reader may ask next, and that the sources answer."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import lines
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, at_most, limit, limit_field, prompt_field
from rag.prompts.sanitize import harmless

SHORTEST = 3
"""Words of a question at least."""
LONGEST = 200
"""Characters of a question at most."""


class SuggestQuestions(Operator):
    """Suggests what to ask next, from the sources of an answer.

    For a chat, behind the answer (conversational question suggestion, Rosset et al., The Web
    Conference 2020). What a small model writes beside questions, and repetitions of the
    question, are left out.
    LLM calls: 1.
    Reads `query`, `answer`, `documents`; writes `suggestions`.
    Example: `{use: suggest_questions, n: 3}`
    """

    writes = "suggestions"
    span_kind = "LLM"

    n: PositiveInt = Field(default=3, description="questions at most")
    max_tokens: PositiveInt | None = limit_field(96)
    system: str | None = prompt_field("suggest_questions")

    async def run(
        self, query: str, answer: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[str]:
        """Different questions, each a line that ends with a question mark; none is fine."""
        if not documents:
            return []
        call = ModelCall(llm, ctx)
        system = at_most(call, self.system or call.texts["suggest_questions"].text, self.n)
        asked = call.texts["suggest_questions_input"].format(query=query, answer=harmless(answer))
        done = await ask(
            call, system, asked, documents, max_tokens=limit(call, self.max_tokens, 96)
        )
        found = lines(done.text, 2 * self.n, but=query)
        return [one for one in found if _is_question(one)][: self.n]


def _is_question(text: str) -> bool:
    ends = text.endswith(("?", "\uff1f", "\u061f"))
    return ends and len(text) <= LONGEST and (len(text.split()) >= SHORTEST or not text.isascii())
