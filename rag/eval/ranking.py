"""How well a pipeline ranks a data set's documents."""

from __future__ import annotations

import statistics
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from time import perf_counter

from rag.errors import ConfigError
from rag.eval.beir import Dataset
from rag.eval.compare import Gain, mean, paired
from rag.eval.corpus import Progress
from rag.flow import Flow, Operator, Sequence
from rag.llm import LLM
from rag.operators import Extract

MEASURES = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")


@dataclass(frozen=True)
class Ranked:
    """One query's ranking.

    Attributes:
        id: The query's.
        ndcg_at_10: 0 to 1, as the other measures; as trec_eval defines them.
        found: The first ten documents.
        seconds: Of the ranking.
    """

    id: str
    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr_at_10: float
    found: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class RankingRow:
    """A pipeline's means over the queries.

    Attributes:
        gain: Of nDCG@10 over the first pipeline, paired by query.
    """

    pipeline: str
    queries: int
    means: dict[str, float | None]
    milliseconds: float
    gain: Gain | None


def rank_all(flow: Flow, data: Dataset, told: Progress) -> list[Ranked]:
    """Rank the corpus for each query by the flow's steps before the first language model.

    A document's rank is that of its best chunk. Measures by ir-measures, which wraps
    trec_eval.

    Raises:
        ConfigError: The flow finds no documents; ir-measures is not installed.
    """
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ImportError as error:
        raise ConfigError(
            "ir-measures is not installed", fix='pip install "modular-rag[eval]"'
        ) from error

    wanted = dict(zip((nDCG @ 10, R @ 10, R @ 100, RR @ 10), MEASURES, strict=True))
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
    for one in ir_measures.iter_calc(list(wanted), relevant, ranking):
        scores[one.query_id][wanted[one.measure]] = float(one.value)
    return [
        Ranked(id=key, **scores[key], found=tuple(ranking[key])[:10], seconds=seconds[key])
        for key in ranking
    ]


def ranking_rows(ranked: dict[str, list[Ranked]]) -> list[RankingRow]:
    """The table: a row for each pipeline, compared with the first one."""
    base = [one.ndcg_at_10 for one in next(iter(ranked.values()))]

    def values(found: Rows[Ranked], measure: str) -> list[float]:
        return [getattr(one, measure) for one in found]

    return [
        RankingRow(
            pipeline=name,
            queries=len(found),
            means={measure: mean(values(found, measure)) for measure in MEASURES},
            milliseconds=1000 * statistics.median(one.seconds for one in found),
            gain=paired(values(found, "ndcg_at_10"), base),
        )
        for name, found in ranked.items()
    ]


def retrieval_part(flow: Flow) -> Flow:
    """The flow's steps before the first that takes a language model, or compresses."""
    nodes = flow.node.nodes if isinstance(flow.node, Sequence) else (flow.node,)
    kept = []
    for node in nodes:
        if isinstance(node, Operator) and (isinstance(node, Extract) or _asks(node)):
            break
        kept.append(node)
    part = Flow(Sequence(*kept), name=flow.name, inputs=flow.inputs, resources=flow.resources)
    if "documents" not in part.output_types:
        raise ConfigError(
            "the pipeline finds no documents before it asks a language model",
            fix="give a pipeline that retrieves, such as hybrid",
        )
    return part


def _asks(operator: Operator) -> bool:
    """Whether the operator takes a language model."""
    return any(issubclass(port.type, LLM) for port in operator.signature().resources)
