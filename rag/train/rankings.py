"""What a trained model gains in rankings, question by question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rag.eval.corpus import Corpus
from rag.eval.ranking import RankingResult, rank_all
from rag.train.gate import Verdict

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.flow import Flow
    from rag.train.asked import Questions
    from rag.train.work import Rows, Work

MEASURES = {"nDCG@10": "ndcg_at_10", "MRR@10": "mrr_at_10", "recall@10": "recall_at_10"}
"""What is reported; the first decides."""
Rankings = Mapping[str, Mapping[str, float]]
"""Question to its measures."""


def measured(
    name: str,
    questions: Questions,
    flow: Callable[[Corpus, Dataset], Flow],
    work: Work,
    report: Progress,
) -> dict[str, Rankings]:
    """Name of questions to their rankings.

    Args:
        name: Of what is measured; its rankings are kept by it.
        questions: With further data sets.
        flow: Gives the flow that ranks, bound to the corpus of a data set.
        work: Where rankings and indexes are kept.
        report: Called with what is done, how much, and of how much.
    """
    found = {}
    for number, (asked, data) in enumerate(questions.measured.items()):
        rows = work.rows(f"{name}-{number}")
        progress = _named(report, name)
        with Corpus(data, work.folder / "indexes", progress) as corpus:
            found[asked] = rankings(flow(corpus, data), data, rows, progress)
    return found


def _named(report: Progress, name: str) -> Progress:
    return lambda work, done, total: report(f"{work} {name}", done, total)


def compared(before: Mapping[str, Rankings], after: Mapping[str, Rankings]) -> list[Verdict]:
    """The verdicts of all questions that decide."""
    return [one for name in before for one in verdicts(name, before[name], after[name])]


def rankings(flow: Flow, data: Dataset, rows: Rows, progress: Progress) -> Rankings:
    """The measures of each question of a data set; those of a run that was stopped are kept.

    Args:
        flow: Bound to what it searches.
        data: Questions with judgements.
        rows: Where the measures are kept.
        progress: Called while questions are ranked.
    """
    ids = [one.id for one in data.queries if one.relevant]
    if not all(one in rows.known for one in ids):
        for result in rank_all(flow, data, progress):
            rows.add(result.id, _measures(result))
    return {one: rows.known[one] for one in ids}


def _measures(result: RankingResult) -> dict[str, float]:
    values = asdict(result)
    return {name: values[field] for name, field in MEASURES.items()}


def verdicts(
    name: str, before: Rankings, after: Rankings, *, gates: bool = True
) -> Sequence[Verdict]:
    """A verdict for each measure; of those only nDCG@10 decides.

    Args:
        name: Of the questions.
        before: Of the base.
        after: Of the trained model, on the same questions.
        gates: Whether these questions decide at all.
    """
    return [
        Verdict(
            name, measure,
            tuple(before[one][measure] for one in before),
            tuple(after[one][measure] for one in before),
            gates=gates and at == 0,
        )
        for at, measure in enumerate(MEASURES)
    ]  # fmt: skip
