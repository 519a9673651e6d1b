"""Abstractive compression: what documents say about a question, as one summary."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.claims import unmarked
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field, with_answer
from rag.text.abstention import abstains
from rag.text.sentences import sentences

NOTHING = "NOTHING"
"""What a model writes if the documents say nothing about the question."""


class Summarize(Operator):
    """Summarises what the documents say about the question.

    RECOMP's abstractive compressor (Xu et al. 2023, arXiv 2310.04408, section 3.2), with any model
    instead of a trained one; where they say nothing about it, the summary is empty and so are the
    documents. In a flow that has a `candidate`, the summary is what speaks for that answer: SuRe's
    conditional summary (Kim et al. 2024, arXiv 2404.13081, section 3.2). For contexts too long for
    what answers, as a cheap model may summarise and a strong one answer. Rename `documents` where
    citations shall point to the sources themselves. LLM calls: 1, without documents 0.
    Reads `query`, `documents` and, if present, `candidate`; writes `summary`, and `documents`:
    the summary as the only one.
    Example: `{use: summarize, outputs: {documents: read}}`
    """

    writes = ("summary", "documents")
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("summarize")
    candidate_system: str | None = prompt_field("summarize_for")

    async def run(
        self,
        query: str,
        documents: list[Document],
        candidate: str | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> tuple[str, list[Document]]:
        """The summary, also as a document."""
        if not documents:
            return "", []
        call = ModelCall(llm, ctx)
        if candidate is None:
            system, question = self.system or call.texts["summarize"].text, query
        else:
            system = self.candidate_system or call.texts["summarize_for"].text
            question = with_answer(call, query, candidate)
        tokens = limit(call, self.max_tokens, 128)
        done = await ask(call, system, question, documents, max_tokens=tokens)
        # Its marks are of documents that whoever reads the summary does not see.
        text = unmarked(done.text).strip()
        if text.strip(" .*") == NOTHING or all(map(abstains, sentences(text))):
            return "", []
        return text, [Document(page_content=text, metadata={"title": "Summary"})]
