"""A judge of answers: what the documents support, what is cited, and what is correct.

Faithfulness is that of RAGAS (Es et al. 2023, arXiv 2309.15217, section 3): the share of the
answer's claims that the documents, read together, support. Citation recall and precision are those
of ALCE (Gao et al. 2023, arXiv 2305.14627, section 4.3) as its published program counts. The
operators `verify`, `verify_nli` and `verify_llm` judge support, instead of the papers' judges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from langchain_core.documents import Document

from rag.eval.digests import flow_digest
from rag.eval.judge_steps import ExtractClaims, GradeCorrectness
from rag.flow import Flow, Operator, Resources
from rag.operators import Verify, VerifyLLM, VerifyNLI
from rag.operators.answering import DO_NOT_KNOW
from rag.operators.claims import MARK, claims_of
from rag.text.abstention import abstains
from rag.text.chunk import Chunk

JudgeKind = Literal["words", "nli", "llm"]
VERIFIERS: dict[JudgeKind, type[Operator]] = {"words": Verify, "nli": VerifyNLI, "llm": VerifyLLM}
THRESHOLD = 0.5
"""A claim counts as supported from this support on."""
CITATIONS = 3
"""Citations of a sentence that count: those after them are ignored, as ALCE does."""


@dataclass(frozen=True)
class Verdict:
    """The measures of one answer, each 0 to 1; None: it was not measured.

    Attributes:
        faithfulness: Share of the claims that the documents together support. None, as are the
            next two, if the answer makes no claim: it is empty, or says that it is not known.
        citation_recall: Share of the sentences that their cited documents, one behind the other,
            support. A sentence without citations, or with one of no document, counts as 0.
        citation_precision: Share of the citations that are not irrelevant, among those of
            sentences whose citations are all of documents: the sentence is supported by what it
            cites, and this document alone supports it, or the others do not without it. A
            document that is cited twice counts twice. 0 if nothing is cited.
        correctness: A language model's grade; of the best reference.
    """

    faithfulness: float | None = None
    citation_recall: float | None = None
    citation_precision: float | None = None
    correctness: float | None = None


class Judge:
    """Measures an answer.

    Args:
        kind: By content words (`verify`), by an NLI model (`verify_nli`) or by an LLM
            (`verify_llm`). The claims are the answer's sentences; an LLM splits it into them, and
            grades whether it is correct.
        resources: Hold that model as `nli` or `llm`; a pipeline's resources share what it opened.
    """

    def __init__(
        self, kind: JudgeKind = "words", resources: Mapping[str, Any] | Resources | None = None
    ) -> None:
        texts = {"query": str, "answer": str}
        inputs = {"answer": str, "documents": list[Document]}
        self._verify = Flow(VERIFIERS[kind](), inputs=inputs, resources=resources)
        self._claims = self._grade = None
        if kind == "llm":
            self._claims = Flow(ExtractClaims(), inputs=texts, resources=resources)
            texts = {**texts, "reference": str}
            self._grade = Flow(GradeCorrectness(), inputs=texts, resources=resources)

    @property
    def digest(self) -> str:
        """Differs if it judges in another way, or by another model."""
        flows = (self._verify, self._claims, self._grade)
        return "-".join(flow_digest(one) for one in flows if one is not None)

    async def judge(
        self,
        answer: str,
        documents: Sequence[Document],
        *,
        query: str = "",
        references: Sequence[str] = (),
        answerable: bool = True,
    ) -> Verdict:
        """Measure one answer.

        Args:
            answer: With citations such as `[2]`, which count from 1.
            documents: In the order in which they are numbered.
            query: The question.
            references: Answers that are right.
            answerable: False: the right answer says that the sources do not say.
        """
        correctness = await self._correctness(
            query, answer, references if answerable else [DO_NOT_KNOW]
        )
        cited = [(MARK.sub("", one).strip(), _citations(one)) for one in claims_of(answer)]
        cited = [(sentence, numbers) for sentence, numbers in cited if sentence]
        if not cited or abstains(answer):
            return Verdict(correctness=correctness)
        if self._claims is None:
            claims = [sentence for sentence, _ in cited]
        else:
            found = await self._claims.ainvoke(query=query, answer=answer)
            claims = found["statements"]
        context = _joined(documents)
        faithful = await asyncio.gather(*(self._supports(one, context) for one in claims))
        recall, needed, count = [], 0, 0
        for sentence, numbers in cited:
            together, good, counted = await self._cited(sentence, numbers, documents)
            recall.append(together)
            needed, count = needed + good, count + counted
        return Verdict(fmean(faithful), fmean(recall), needed / max(count, 1), correctness)

    async def _cited(
        self, sentence: str, numbers: Sequence[int], documents: Sequence[Document]
    ) -> tuple[bool, int, int]:
        """Whether what is cited supports the sentence; citations that are needed; and all."""
        if not numbers or not all(1 <= number <= len(documents) for number in numbers):
            return False, 0, 0
        cited = [documents[number - 1] for number in numbers[:CITATIONS]]
        if not await self._supports(sentence, _joined(cited)):
            return False, 0, len(cited)
        if len(cited) == 1:
            return True, 1, 1
        needed = 0
        for at, one in enumerate(cited):
            others = [*cited[:at], *cited[at + 1 :]]
            needed += await self._supports(sentence, _joined([one])) or not await self._supports(
                sentence, _joined(others)
            )
        return True, needed, len(cited)

    async def _supports(self, claim: str, text: Document) -> bool:
        """Whether the text supports the claim."""
        if not text.page_content.strip():
            return False
        found = await self._verify.ainvoke(answer=claim, documents=[text])
        return bool(found["claims"]) and all(one.support >= THRESHOLD for one in found["claims"])

    async def _correctness(
        self, query: str, answer: str, references: Sequence[str]
    ) -> float | None:
        if self._grade is None or not references:
            return None
        if not answer.strip():
            return 0.0
        grade = self._grade
        verdicts = [
            grade.ainvoke(query=query, answer=answer, reference=reference)
            for reference in references
        ]
        return max(float(one["correctness"]) for one in await asyncio.gather(*verdicts))


def _citations(sentence: str) -> list[int]:
    return [int(number) for number in MARK.findall(sentence)]


def _joined(documents: Sequence[Document]) -> Document:
    """The documents as one text, each with its title and headings."""
    return Document(page_content="\n\n".join(Chunk.of(one).embedding_text for one in documents))
