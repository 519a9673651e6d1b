"""Answers by map and reduce."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.answering import NOTHING_FOUND, AnswerOperator
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, prompt_field


class MapReduce(AnswerOperator):
    """Answers from each document alone, then combines these answers into one.

    For questions whose answer is spread over many documents (the pattern of Dean and Ghemawat
    2004, section 2). LLM calls: documents + 1.
    Reads `query`, `documents` and, if present, `history` (as `generate` does); writes `answer`.
    Example: `{use: map_reduce}`
    """

    writes = "answer"

    max_tokens: PositiveInt = Field(default=96, description="output limit of each call, in tokens")
    map_system: str = prompt_field("map_reduce_map")
    system: str = prompt_field("map_reduce")

    async def run(
        self,
        query: str,
        documents: list[Document],
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The combined answer; the only one if the others are empty."""
        if not documents:
            return NOTHING_FOUND
        call = ModelCall(llm, ctx)
        answers = []
        for document in documents:
            done = await ask(
                call, self.map_system, query, [document], history=history,
                max_tokens=self.max_tokens, **self.sampling,
            )  # fmt: skip
            if done.text.strip():
                answers.append(Document(page_content=done.text.strip()))
        if len(answers) < 2:
            return answers[0].page_content if answers else ""
        done = await ask(
            call, self.system, query, answers, history=history, max_tokens=self.max_tokens,
            **self.sampling,
        )  # fmt: skip
        return done.text.strip() or answers[0].page_content
