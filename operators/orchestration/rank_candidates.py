"""The candidate whose summary speaks best for it (SuRe)."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.operators.judging import ByField
from rag.operators.model_call import ModelCall
from rag.operators.orchestration.llm_judge import LLMJudge
from rag.operators.orchestration.rank_answers import RankAnswers


class RankCandidates(Operator):
    """Answers with the candidate whose summary is valid and says most about the question.

    The last step of SuRe (Kim et al. 2024, arXiv 2404.13081, section 3.3): whether a summary
    supports its candidate is judged alone (`llm_judge`), which of the valid ones is most
    informative by ranking all at once (`rank_answers`), where the paper compares them in pairs.
    Behind `answer_candidates` and a map of `summarize`. Where no summary is valid, the answer is
    that the sources do not say. LLM calls: n for n candidates and 1 to rank; by likelihood 2n, and
    n + 1 to rank.
    Reads `query`, `candidates`, `summary` of each and, if present, `documents`; writes `answer`.
    Example: `{use: rank_candidates}`
    """

    writes = "answer"
    span_kind = "LLM"

    by: ByField = None

    async def run(
        self,
        query: str,
        candidates: list[str],
        summary: list[str],
        documents: list[Document] | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The candidate, or that there is none."""
        if documents is not None and not documents:
            return NOTHING_FOUND
        judge = LLMJudge(aspect="supported", by=self.by)

        async def valid(pair: tuple[str, str]) -> bool:
            candidate, text = pair
            sources = [Document(page_content=text)] if text.strip() else []
            verdict, _ = await judge.run(query, sources, candidate, llm=llm, ctx=ctx)
            return verdict

        pairs = list(zip(candidates, summary, strict=False))
        verdicts = await ModelCall(llm, ctx).together(valid, pairs)
        kept = {
            text.strip(): one for (one, text), good in zip(pairs, verdicts, strict=True) if good
        }
        if not kept:
            return DO_NOT_KNOW
        ranked = await RankAnswers(k=1).run(query, list(kept), llm=llm, ctx=ctx)
        return kept[ranked[0]]
