"""Fusion of answers by majority vote."""

from __future__ import annotations

from rag.flow import Operator
from rag.operators.support import support
from rag.text.sentences import COMMON, STOPS


class Vote(Operator):
    """Returns the answer that most others agree with (self-consistency, arXiv 2203.11171).

    Wang et al. 2022, section 2. For branches that answer the same question, sampled or in
    different ways. An equal answer, apart from case and surrounding punctuation, is a full vote.
    Free text is seldom equal, so another answer counts by the share of words in common. No LLM
    call.
    A join: reads `answer` of every branch; writes `answer`, the first one of a tie.
    Example: `{use: vote}`
    """

    writes = "answer"
    light = True

    def run(self, answer: list[str]) -> str:
        """The answer with the most votes; empty if all are."""
        given = [one for one in answer if one.strip()]
        votes = []
        for at, one in enumerate(given):
            others = [_agreement(one, other) for other in (*given[:at], *given[at + 1 :])]
            equal = sum(_plain(one) == _plain(other) for other in given)
            votes.append((sum(others), equal))
        return given[max(range(len(given)), key=lambda at: votes[at])] if given else ""


def _agreement(one: str, other: str) -> float:
    """How far two answers agree, 0 to 1."""
    if _plain(one) == _plain(other):
        return 1.0
    # "No" and "No, it may not" consist of stop words.
    common = COMMON if support(one, one) and support(other, other) else ()
    return (support(one, other, common=common) + support(other, one, common=common)) / 2


def _plain(answer: str) -> str:
    """The answer without what does not change it; a sign stays: -5 is not 5."""
    return " ".join(answer.casefold().split()).strip(" \"'*_`").rstrip(f" \"'*_`,;:{STOPS}")
