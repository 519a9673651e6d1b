"""Fusion of answers by a language model."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.answering import AnswerOperator, written
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field, with_answers


class LLMFusion(AnswerOperator):
    """Fuses answers into one by the model (LLM-Blender, Jiang et al. 2023, arXiv 2306.02561).

    The paper's generative fusion, and Modular RAG's LLM fusion (arXiv 2407.21059, section
    IV-F-3). For branches that each know a part; with `pair` each answer is shown with its question.
    LLM calls: 1.
    A join: reads `answer` of every branch, `query` and, if present, `queries` (with `pair`),
    `critiques`, one for each answer, `documents`, which a strong model is shown beside the
    answers, and `history` (as `generate` does); writes `answer`. If all answers are equal, no
    model is called; if the model returns nothing, it is the first one.
    Example: `{use: llm_fusion}`
    """

    writes = "answer"

    max_tokens: PositiveInt | None = limit_field(128)
    pair: bool = Field(default=False, description="whether each answer is to one of `queries`")
    system: str | None = prompt_field("llm_fusion")
    pair_system: str | None = prompt_field("llm_fusion_parts")

    async def run(
        self,
        query: str,
        answer: list[str],
        queries: list[str] | None = None,
        critiques: list[str] | None = None,
        documents: list[Document] | None = None,
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The fused answer."""
        pairs = queries if self.pair and queries and len(queries) == len(answer) else None
        call = ModelCall(llm, ctx)
        notes = critiques if critiques and len(critiques) == len(answer) else [""] * len(answer)
        shown: dict[str, str] = {}
        for at, one in enumerate(answer):
            if one.strip():
                text = one.strip()
                if pairs:
                    text = call.texts["llm_fusion_pair"].format(question=pairs[at], answer=text)
                critique = call.texts["llm_fusion_critique"]
                criticised = critique.format(answer=text, critique=notes[at])
                shown.setdefault(text, criticised if notes[at] else text)
        given = [one.strip() for one in answer if one.strip()]
        if len(set(given)) < 2:
            return next(iter(given), "")
        own, name = (self.pair_system, "llm_fusion_parts") if pairs else (self.system, "llm_fusion")
        texts = list(shown.values())
        # A small model is shown the answers alone: documents beside them distract it.
        with_documents = bool(documents) and call.strong
        done = await ask(
            call,
            own or call.texts[name].text,
            with_answers(call, query, texts) if with_documents else query,
            documents or () if with_documents else [Document(page_content=one) for one in texts],
            history=history,
            max_tokens=limit(call, self.max_tokens, 128),
            **self.sampling,
        )
        return written(done, given[0])
