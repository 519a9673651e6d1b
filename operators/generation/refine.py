"""Answers refined group by group."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.answering import NOTHING_FOUND, AnswerOperator, written
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field, with_answer


class Refine(AnswerOperator):
    """Answers from the first documents, then improves the answer with the next ones.

    For more documents than fit the model's window, one after another (LangChain's "refine";
    Self-Refine, Madaan et al. 2023, arXiv 2303.17651, section 2, with documents instead of
    feedback). An empty improvement leaves the answer as it was. LLM calls: documents / `group`.
    Reads `query`, `documents` and, if present, `history` (as `generate` does); writes `answer`.
    Example: `{use: refine, group: 2}`
    """

    writes = "answer"

    group: PositiveInt = Field(default=2, description="documents in each call")
    max_tokens: PositiveInt | None = limit_field(128, "output limit of each call")
    first_system: str | None = prompt_field("generate")
    system: str | None = prompt_field("refine")

    async def run(
        self,
        query: str,
        documents: list[Document],
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The answer after the last group."""
        call = ModelCall(llm, ctx)
        answer = ""
        for start in range(0, len(documents), self.group):
            part = documents[start : start + self.group]
            question = with_answer(call, query, answer, "answer_so_far") if answer else query
            first = self.first_system or call.texts["generate"].text
            system = (self.system or call.texts["refine"].text) if answer else first
            done = await ask(
                call, system, question, part, history=history,
                max_tokens=limit(call, self.max_tokens, 128), **self.sampling,
            )  # fmt: skip
            answer = written(done, answer)
        return answer if documents else NOTHING_FOUND
