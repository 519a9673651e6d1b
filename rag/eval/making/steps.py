"""What is asked of a model to make a question, and to see whether it is a good one."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow import Operator, RunContext
from rag.models import LLM, Sampling
from rag.operators.judging import By, judged
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, fit_prompt, limit

Kind = Literal["single", "several", "none"]
WRITTEN, ANSWERED = 128, 64
"""A small model's limits, in tokens: a question with its answer; an answer."""


class Written(BaseModel):
    """A question that a model wrote."""

    question: str = Field(description="the question")
    answer: str = Field(description="its answer in a few words")


class WriteQuestion(Operator):
    """Has the model write a question about sources, with its answer. One LLM call, or two.

    Reads `documents`; writes `written`: None if the model wrote none.
    """

    writes = "written"
    span_kind = "LLM"

    kind: Kind = Field(description="how many of the sources hold the answer: one, several, none")

    async def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> Written | None:
        """The question and its answer."""
        call = ModelCall(llm, ctx)
        room = limit(call, None, WRITTEN)
        text = call.texts[f"make_{self.kind}"].text
        prompt = fit_prompt(call, "", text, documents, room)
        return await call.structured(prompt, Written, Sampling(max_tokens=room))


class AnswerFrom(Operator):
    """The model's answer from sources. One LLM call.

    Reads `query` and `documents`; writes `answer`.
    """

    writes = "answer"
    span_kind = "LLM"

    async def run(self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext) -> str:
        """The answer."""
        call = ModelCall(llm, ctx)
        room = limit(call, None, ANSWERED)
        return (
            await ask(call, call.texts["generate"].text, query, documents, max_tokens=room)
        ).text


class GradeSources(Operator):
    """How well each source answers a question. An LLM call for each.

    Reads `query` and `documents`; writes `grades`: 0 to 1, one for each.
    """

    writes = "grades"
    span_kind = "LLM"

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[float]:
        """The grades."""
        call = ModelCall(llm, ctx)
        by: By = "answer" if call.scores else "grade"
        text = call.texts["relevant" if by == "answer" else "grade_relevant"].text

        async def grade(document: Document) -> float:
            return await judged(call, by, text, query, [document])

        return await call.together(grade, documents)
