"""Answers from many documents: refined one after another, mapped and reduced, or an ensemble."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from rag.flow import RunContext
from rag.models import LLM, Generation, Sampling
from rag.operators.asking import Asking, about, fitting, told
from rag.operators.documents import score_of, shares
from rag.operators.generation.generate import NOTHING_FOUND
from rag.prompts.templates import prompts


class Refine(Asking):
    """Answers from the first documents and improves the answer by the next ones.

    For more documents than the model's window holds, in one line of thought (LangChain's
    "refine"; Self-Refine, Madaan et al. 2023, arXiv 2303.17651, section 2, with documents in the
    place of feedback). LLM calls: documents / `group`. An empty improvement leaves the answer as
    it was.
    Reads `query` and `documents`; writes `answer`.
    Example: `{use: refine, group: 2}`
    """

    writes = "answer"

    group: PositiveInt = Field(default=2, description="documents for each call")
    max_tokens: PositiveInt = Field(default=128, description="the answer at most")
    first: str = told("generate")
    system: str = told("refine")

    async def run(self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext) -> str:
        """Answer, and answer again."""
        answer = ""
        for start in range(0, len(documents), self.group):
            part = documents[start : start + self.group]
            asked = about(llm, ctx, query, answer, "answer_so_far") if answer else query
            system = self.system if answer else self.first
            answer = (await self._ask(llm, ctx, system, asked, part)).text.strip() or answer
        return answer if documents else NOTHING_FOUND


class MapReduce(Asking):
    """Answers from each document by itself, then from these answers.

    For questions whose answer is spread over many documents (the pattern of Dean and Ghemawat
    2004, section 2). LLM calls: documents + 1.
    Reads `query` and `documents`; writes `answer`.
    Example: `{use: map_reduce}`
    """

    writes = "answer"

    max_tokens: PositiveInt = Field(default=96, description="each answer at most")
    each: str = told("map_reduce_map")
    system: str = told("map_reduce")

    async def run(self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext) -> str:
        """Answer each, then all."""
        if not documents:
            return NOTHING_FOUND
        answers = []
        for document in documents:
            said = (await self._ask(llm, ctx, self.each, query, [document])).text.strip()
            if said:
                answers.append(Document(page_content=said))
        if len(answers) < 2:
            return answers[0].page_content if answers else ""
        done = await self._ask(llm, ctx, self.system, query, answers)
        return done.text.strip() or answers[0].page_content


FORM = prompts()["structured_answer_text"].text
"""Stands in the form that the model fills in; a small one may give it back as it is."""


class Reply(BaseModel):
    """An answer as an object."""

    answer: str = Field(max_length=600, description=FORM)
    sources: list[int] = Field(
        default_factory=list, max_length=8, description=prompts()["structured_answer_sources"].text
    )


class StructuredAnswer(Asking):
    """Answers as an object: the text, and the numbers of the sources used.

    For callers that are programs. While a local model writes, only tokens of such an object are
    allowed (guided generation, Willard and Louf 2023, arXiv 2307.09702, section 3). Numbers of
    sources that there are not are taken out. Where the model gives no such object, or the form
    as it was, the answer is empty, with a warning. LLM calls: 1, for a model that is not local
    up to 2.
    Reads `query` and `documents`; writes `answer` and `reply`.
    Example: `{use: structured_answer}`
    """

    writes = ("answer", "reply")

    max_tokens: PositiveInt = Field(default=192, description="the answer at most")
    system: str = told("structured_answer")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[str, Reply]:
        """Answer."""
        if not documents:
            return NOTHING_FOUND, Reply(answer=NOTHING_FOUND)
        prompt = fitting(llm, ctx, self.system, query, documents, self.max_tokens)
        found = await self._fill(llm, ctx, prompt, Reply)
        if found is None or found.answer.strip() == FORM:
            ctx.warn(
                "the model gave no object" if found is None else "the model gave the form back"
            )
            return "", Reply(answer="")
        there = [n for n in dict.fromkeys(found.sources) if 1 <= n <= len(prompt.chunks)]
        return found.answer.strip(), found.model_copy(update={"sources": there})


class Replug(Asking):
    """Answers from each document at once: next-token distributions, mixed (arXiv 2301.12652).

    Shi et al. 2023, section 3.2: weights are the softmax of the documents' scores. For documents
    that should not compete for one window. One prompt per document; local models only.
    LLM calls: 1 answer, each token computed once for every document.
    Reads `query` and `documents`; writes `answer` and `generation`.
    Example: `{use: replug, temperature: 0.1}`
    """

    writes = ("answer", "generation")

    temperature: PositiveFloat = Field(
        default=0.1, description="of the softmax over scores: lower trusts the first more"
    )
    max_tokens: PositiveInt = Field(default=64, description="the answer at most")
    system: str = told("generate")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[str, Generation]:
        """Answer.

        Raises:
            ModelError: The model tells no likelihoods.
        """
        if not documents:
            return NOTHING_FOUND, Generation(NOTHING_FOUND, 0, 0, "stop")
        each = [
            fitting(llm, ctx, self.system, query, [document], self.max_tokens)
            for document in documents
        ]
        ctx.spend(llm_calls=1)
        done = Generation("", 0, 0, "stop")
        scores = [score_of(document) or 0.0 for document in documents]
        weights = shares(scores, self.temperature)
        async for piece in llm.ensemble(each, weights, Sampling(max_tokens=self.max_tokens)):
            if isinstance(piece, Generation):
                done = piece
                ctx.spend(tokens=piece.prompt_tokens + piece.completion_tokens)
            else:
                ctx.token(piece)
        return done.text.strip(), done
