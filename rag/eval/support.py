"""Whether the documents carry the answer: faithfulness and citations.

Faithfulness is that of RAGAS (Es et al. 2023, arXiv 2309.15217, section 3): the share of the
answer's claims that the documents support; a claim is a sentence here. Citation recall and
precision are those of ALCE (Gao et al. 2023, arXiv 2305.14627, section 4.3). What supports what
is said by `verify`, `verify_nli` or `verify_llm`, in the place of the papers' judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from langchain_core.documents import Document

from rag.eval.identity import identity
from rag.flow import Flow, Operator, Resources
from rag.operators import Verify, VerifyLLM, VerifyNLI
from rag.operators.claims import claims_of
from rag.operators.generation.cite import MARK

By = Literal["words", "nli", "llm"]
VERIFIERS: dict[By, type[Operator]] = {"words": Verify, "nli": VerifyNLI, "llm": VerifyLLM}
NEEDED = 0.5
"""Support from which on a sentence counts as supported."""


@dataclass(frozen=True)
class Supported:
    """What was found in one answer; None where there is nothing to divide by.

    Attributes:
        faithfulness: Share of the sentences that a document supports, 0 to 1.
        citation_recall: Share of the sentences that the documents they cite support together.
        citation_precision: Share of the citations that are needed: the sentence is supported by
            what it cites, and this document alone supports it, or the others do not without it.
    """

    faithfulness: float | None
    citation_recall: float | None
    citation_precision: float | None


class Judge:
    """Says what the documents support.

    Args:
        by: How: `verify`, or the one with a model.
        resources: That model, as `nli` or `llm`; those of a pipeline share what it opened.
    """

    def __init__(
        self, by: By = "words", resources: Mapping[str, Any] | Resources | None = None
    ) -> None:
        inputs = {"answer": str, "documents": list[Document]}
        self._verify = Flow(VERIFIERS[by](), inputs=inputs, resources=resources)

    @property
    def identity(self) -> str:
        """A digest of how it judges, and by which model."""
        return identity(self._verify)

    def judge(self, answer: str, documents: Sequence[Document]) -> Supported:
        """Look at one answer.

        Args:
            answer: With marks such as `[2]` where it cites; they count from 1.
            documents: As they were numbered.
        """
        said = [(MARK.sub("", one).strip(), _marks(one)) for one in claims_of(answer)]
        said = [(plain, marks) for plain, marks in said if plain]
        if not said:
            return Supported(None, None, None)
        faithful, recalled, precise = [], [], []
        for plain, marks in said:
            faithful.append(self._supports(plain, documents))
            cited = [documents[n - 1] for n in marks if 1 <= n <= len(documents)]
            whole = self._supports(plain, [_joined(cited)])
            recalled.append(whole)
            precise += [False] * (len(marks) - len(cited))
            for at, one in enumerate(cited):
                others = [*cited[:at], *cited[at + 1 :]]
                needed = whole and (
                    not others
                    or self._supports(plain, [one])
                    or not self._supports(plain, [_joined(others)])
                )
                precise.append(needed)
        return Supported(fmean(faithful), fmean(recalled), fmean(precise) if precise else None)

    def _supports(self, sentence: str, documents: Sequence[Document]) -> bool:
        """Whether one of the documents supports the sentence."""
        found = [one for one in documents if one.page_content.strip()]
        if not found:
            return False
        (*_, claim) = self._verify.invoke(answer=sentence, documents=found)["claims"] or [None]
        return claim is not None and claim.support >= NEEDED


def _marks(sentence: str) -> list[int]:
    return list(dict.fromkeys(int(number) for number in MARK.findall(sentence)))


def _joined(documents: Sequence[Document]) -> Document:
    return Document(page_content="\n\n".join(one.page_content for one in documents))
