"""How well a pipeline ranks a data set's documents."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from rag.eval.compare import Gain, mean, paired_gain
from rag.eval.corpus import Progress, no_progress
from rag.eval.dataset import Dataset, Query
from rag.eval.retrieval_part import retrieval_part
from rag.extras import require
from rag.flow import Flow
from rag.text.chunk import Chunk

DEPTH = 100
"""Documents that a ranking should have."""
MEASURES = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")


@dataclass(frozen=True)
class RankingResult:
    """The ranking of one query.

    Attributes:
        id: The query's id.
        ndcg_at_10: 0 to 1, as the other measures; as trec_eval defines them.
        top: The first ten documents.
        depth: Number of documents ranked.
        seconds: Duration of the ranking.
    """

    id: str
    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr_at_10: float
    top: tuple[str, ...]
    depth: int
    seconds: float


@dataclass(frozen=True)
class RankingRow:
    """A pipeline's means over the queries.

    Attributes:
        pipeline: Its name.
        queries: Number of queries.
        means: By measure of `MEASURES`.
        depth: The largest number of documents that it ranked for a query. If it is below 100,
            the recall at 100 is the recall at this depth.
        milliseconds: The median duration of a query.
        gain: Of nDCG@10 over the first pipeline, paired by query.
    """

    pipeline: str
    queries: int
    means: dict[str, float | None]
    depth: int
    milliseconds: float
    gain: Gain | None


def rank_all(flow: Flow, data: Dataset, progress: Progress = no_progress) -> list[RankingResult]:
    """Rank the corpus for each query by the flow's steps before the first LLM call.

    Questions without a judged document are left out. A document's rank is that of its best chunk.
    Measures are computed by ir-measures, which wraps trec_eval.

    Raises:
        ConfigError: The flow retrieves no documents; ir-measures is not installed.
    """
    ir = require("ir_measures", "eval")
    measures = dict(zip((ir.nDCG @ 10, ir.R @ 10, ir.R @ 100, ir.RR @ 10), MEASURES, strict=True))
    ranker = retrieval_part(flow)
    rankings: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    queries = [query for query in data.queries if query.relevant]
    for number, query in enumerate(queries):
        progress("ranking", number, len(queries))
        started = perf_counter()
        documents = ranker.invoke(query=query.text)["documents"]
        seconds[query.id] = perf_counter() - started
        order = dict.fromkeys(document_name(query, Chunk.of(document)) for document in documents)
        rankings[query.id] = {source: float(-rank) for rank, source in enumerate(order)}
    relevant = {query.id: query.relevant for query in queries}
    # A query without any document is missing from trec_eval's results: its measures are 0.
    scores = {query.id: dict.fromkeys(MEASURES, 0.0) for query in queries}
    for one in ir.iter_calc(list(measures), relevant, rankings):
        scores[one.query_id][measures[one.measure]] = float(one.value)
    return [
        RankingResult(
            id=key,
            **scores[key],
            top=tuple(ranking)[:10],
            depth=len(ranking),
            seconds=seconds[key],
        )
        for key, ranking in rankings.items()
    ]


def ranking_rows(results: dict[str, list[RankingResult]]) -> list[RankingRow]:
    """One row per pipeline, each compared with the first."""
    baseline = [one.ndcg_at_10 for one in next(iter(results.values()))]

    def values(rankings: Sequence[RankingResult], measure: str) -> list[float]:
        return [getattr(one, measure) for one in rankings]

    return [
        RankingRow(
            pipeline=name,
            queries=len(rankings),
            means={measure: mean(values(rankings, measure)) for measure in MEASURES},
            depth=max(one.depth for one in rankings),
            milliseconds=1000 * statistics.median(one.seconds for one in rankings),
            gain=paired_gain(values(rankings, "ndcg_at_10"), baseline),
        )
        for name, rankings in results.items()
    ]


def document_name(query: Query, chunk: Chunk) -> str:
    """What the judgements call a chunk's document: its path if they do, else its source."""
    return chunk.path if chunk.path in query.relevant else chunk.source
