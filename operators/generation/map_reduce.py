"""Answers by map and reduce."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND, AnswerOperator, written
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field
from rag.text.abstention import abstains

NOTHING = "NOTHING"
"""What a strong model writes of a document that says nothing about the question."""


class MapReduce(AnswerOperator):
    """Answers from each document alone, then combines these answers into one.

    For questions whose answer is spread over many documents (the pattern of Dean and Ghemawat
    2004, section 2). LLM calls: documents + 1.
    Reads `query`, `documents` and, if present, `history` (as `generate` does); writes `answer`.
    Example: `{use: map_reduce}`
    """

    writes = "answer"

    max_tokens: PositiveInt | None = limit_field(96, "output limit of each call")
    map_system: str | None = prompt_field("map_reduce_map")
    system: str | None = prompt_field("map_reduce")

    async def run(
        self,
        query: str,
        documents: list[Document],
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The combined answer; the only one, or that there is none, if the others are empty."""
        if not documents:
            return NOTHING_FOUND
        call = ModelCall(llm, ctx)
        tokens = limit(call, self.max_tokens, 96)
        map_system = self.map_system or call.texts["map_reduce_map"].text

        async def answer(document: Document) -> str:
            done = await ask(
                call, map_system, query, [document], history=history, max_tokens=tokens,
                **self.sampling,
            )  # fmt: skip
            text = done.text.strip()
            return "" if text.strip(" .*") == NOTHING or abstains(text) else text

        given = await call.together(answer, documents)
        answers = [Document(page_content=text) for text in given if text]
        if len(answers) < 2:
            return answers[0].page_content if answers else DO_NOT_KNOW
        system = self.system or call.texts["map_reduce"].text
        done = await ask(
            call, system, query, answers, history=history, max_tokens=tokens, **self.sampling,
        )  # fmt: skip
        return written(done, answers[0].page_content)
