"""Whether the documents support the answer: faithfulness and citations.

Faithfulness is that of RAGAS (Es et al. 2023, arXiv 2309.15217, section 3): the share of the
answer's claims that the documents support; a claim is a sentence here. Citation recall and
precision are those of ALCE (Gao et al. 2023, arXiv 2305.14627, section 4.3). The operators
`verify`, `verify_nli` and `verify_llm` judge support, instead of the papers' judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from langchain_core.documents import Document

from rag.eval.digests import flow_digest
from rag.flow import Flow, Operator, Resources
from rag.operators import Verify, VerifyLLM, VerifyNLI
from rag.operators.claims import MARK, claims_of

JudgeKind = Literal["words", "nli", "llm"]
VERIFIERS: dict[JudgeKind, type[Operator]] = {"words": Verify, "nli": VerifyNLI, "llm": VerifyLLM}
THRESHOLD = 0.5
"""A sentence counts as supported from this support on."""


@dataclass(frozen=True)
class Support:
    """The measures of one answer, each 0 to 1.

    Attributes:
        faithfulness: Share of the sentences that a document supports. None if the answer is
            empty, like the next one.
        citation_recall: Share of the sentences that their cited documents support together.
        citation_precision: Share of the citations that are needed: the sentence is supported by
            what it cites, and this document alone supports it, or the others do not without it.
            None if nothing is cited.
    """

    faithfulness: float | None
    citation_recall: float | None
    citation_precision: float | None


class Judge:
    """Measures what the documents support.

    Args:
        kind: By content words (`verify`), by an NLI model (`verify_nli`) or by an LLM
            (`verify_llm`).
        resources: Hold that model as `nli` or `llm`; a pipeline's resources share what it opened.
    """

    def __init__(
        self, kind: JudgeKind = "words", resources: Mapping[str, Any] | Resources | None = None
    ) -> None:
        inputs = {"answer": str, "documents": list[Document]}
        self._verify = Flow(VERIFIERS[kind](), inputs=inputs, resources=resources)

    @property
    def digest(self) -> str:
        """Differs if it judges in another way, or by another model."""
        return flow_digest(self._verify)

    def judge(self, answer: str, documents: Sequence[Document]) -> Support:
        """Measure one answer.

        Args:
            answer: With citations such as `[2]`, which count from 1.
            documents: In the order in which they are numbered.
        """
        parsed = [(MARK.sub("", one).strip(), _citations(one)) for one in claims_of(answer)]
        parsed = [(sentence, numbers) for sentence, numbers in parsed if sentence]
        if not parsed:
            return Support(None, None, None)
        faithful, recall, precision = [], [], []
        for sentence, numbers in parsed:
            faithful.append(self._supports(sentence, documents))
            cited = [documents[n - 1] for n in numbers if 1 <= n <= len(documents)]
            together = self._supports(sentence, [_joined(cited)])
            recall.append(together)
            precision += [False] * (len(numbers) - len(cited))
            for at, one in enumerate(cited):
                others = [*cited[:at], *cited[at + 1 :]]
                needed = together and (
                    not others
                    or self._supports(sentence, [one])
                    or not self._supports(sentence, [_joined(others)])
                )
                precision.append(needed)
        return Support(fmean(faithful), fmean(recall), fmean(precision) if precision else None)

    def _supports(self, sentence: str, documents: Sequence[Document]) -> bool:
        """Whether one of the documents supports the sentence."""
        texts = [one for one in documents if one.page_content.strip()]
        if not texts:
            return False
        (*_, claim) = self._verify.invoke(answer=sentence, documents=texts)["claims"] or [None]
        return claim is not None and claim.support >= THRESHOLD


def _citations(sentence: str) -> list[int]:
    return list(dict.fromkeys(int(number) for number in MARK.findall(sentence)))


def _joined(documents: Sequence[Document]) -> Document:
    return Document(page_content="\n\n".join(one.page_content for one in documents))
