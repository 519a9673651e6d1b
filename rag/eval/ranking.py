"""How well a pipeline ranks a data set's documents."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from rag.eval.beir import Dataset
from rag.eval.compare import Gain, mean, paired
from rag.eval.corpus import Progress
from rag.eval.extra import library
from rag.eval.retrieval_part import retrieval_part
from rag.flow import Flow

DEPTH = 100
"""Documents that a ranking should have."""
MEASURES = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")


@dataclass(frozen=True)
class Ranked:
    """One query's ranking.

    Attributes:
        id: The query's.
        ndcg_at_10: 0 to 1, as the other measures; as trec_eval defines them.
        found: The first ten documents.
        depth: Documents that were ranked.
        seconds: Of the ranking.
    """

    id: str
    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr_at_10: float
    found: tuple[str, ...]
    depth: int
    seconds: float


@dataclass(frozen=True)
class RankingRow:
    """A pipeline's means over the queries.

    Attributes:
        depth: Documents that it ranked for the query for which it ranked most. Where that is below
            100, the recall at 100 is one at this depth.
        gain: Of nDCG@10 over the first pipeline, paired by query.
    """

    pipeline: str
    queries: int
    means: dict[str, float | None]
    depth: int
    milliseconds: float
    gain: Gain | None


def rank_all(flow: Flow, data: Dataset, told: Progress) -> list[Ranked]:
    """Rank the corpus for each query by the flow's steps before the first language model.

    A document's rank is that of its best chunk. Measures by ir-measures, which wraps
    trec_eval.

    Raises:
        ConfigError: The flow finds no documents; ir-measures is not installed.
    """
    ir = library("ir_measures")
    ndcg, recall, mrr = ir.nDCG, ir.R, ir.RR
    wanted = dict(zip((ndcg @ 10, recall @ 10, recall @ 100, mrr @ 10), MEASURES, strict=True))
    ranker = retrieval_part(flow)
    ranking: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    for number, query in enumerate(data.queries):
        told("ranking", number, len(data.queries))
        started = perf_counter()
        documents = ranker.invoke(query=query.text)["documents"]
        seconds[query.id] = perf_counter() - started
        order = dict.fromkeys(str(document.metadata["source"]) for document in documents)
        ranking[query.id] = {source: float(-rank) for rank, source in enumerate(order)}
    relevant = {query.id: query.relevant for query in data.queries}
    # A query without any document is not in trec_eval's results: its measures are 0.
    scores = {query.id: dict.fromkeys(MEASURES, 0.0) for query in data.queries}
    for one in ir.iter_calc(list(wanted), relevant, ranking):
        scores[one.query_id][wanted[one.measure]] = float(one.value)
    return [
        Ranked(
            id=key,
            **scores[key],
            found=tuple(ranking[key])[:10],
            depth=len(ranking[key]),
            seconds=seconds[key],
        )
        for key in ranking
    ]


def ranking_rows(ranked: dict[str, list[Ranked]]) -> list[RankingRow]:
    """The table: a row for each pipeline, compared with the first one."""
    base = [one.ndcg_at_10 for one in next(iter(ranked.values()))]

    def values(found: Sequence[Ranked], measure: str) -> list[float]:
        return [getattr(one, measure) for one in found]

    return [
        RankingRow(
            pipeline=name,
            queries=len(found),
            means={measure: mean(values(found, measure)) for measure in MEASURES},
            depth=max(one.depth for one in found),
            milliseconds=1000 * statistics.median(one.seconds for one in found),
            gain=paired(values(found, "ndcg_at_10"), base),
        )
        for name, found in ranked.items()
    ]
