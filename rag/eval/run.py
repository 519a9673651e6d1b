"""Run a pipeline over a data set: rank documents, or answer questions, and measure."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Documents
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.eval.beir import Dataset
from rag.eval.metrics import contains, exact_match, token_f1
from rag.flow import Flow, Operator, Sequence
from rag.index import Index
from rag.index.spec import IndexSpec
from rag.index.splitting import indexed_text
from rag.llm import LLM, Embedder
from rag.operators import Extract

BATCH = 512
"""Chunks that are embedded and committed together."""

MEASURES = {"exact_match": exact_match, "token_f1": token_f1, "containment": contains}

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how many are done, and of how many."""


@dataclass(frozen=True)
class RetrievalReport:
    """Means over the queries of one data set."""

    data: str
    pipeline: str | None
    queries: int
    documents: int
    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr_at_10: float
    milliseconds_median: float


@dataclass(frozen=True)
class AnswersReport:
    """Means over the questions of one data set."""

    data: str
    pipeline: str | None
    questions: int
    exact_match: float
    token_f1: float
    containment: float
    seconds_median: float
    seconds_p95: float


@contextmanager
def indexed(
    data: Dataset,
    embedder: Embedder,
    where: Path | None,
    progress: Progress,
    split: Callable[[Documents[Document]], list[Document]] | None = None,
) -> Iterator[Index]:
    """The data set's corpus in an index, at `where` or in a temporary folder.

    An index that is there already is brought up to date: what is unchanged costs nothing.

    Args:
        data: Its documents are indexed.
        embedder: Makes the vectors.
        where: The folder.
        progress: Told after each batch.
        split: Documents to chunks; as a pipeline that says nothing of it if not given.
    """
    split = split or IndexSpec().splitter_of(embedder)
    with tempfile.TemporaryDirectory(prefix="rag-eval-") as scratch:
        path = where or Path(scratch) / "index"
        index = Index.writer(path, embedder=embedder.id, dim=embedder.dim)
        try:
            chunks = split(data.documents)
            for start in range(0, len(chunks), BATCH):
                progress("indexing", start, len(chunks))
                part = chunks[start : start + BATCH]
                index.add(part, embedder.embed([indexed_text(chunk) for chunk in part]))
        finally:
            index.close()
        index = Index.open(path)
        try:
            yield index
        finally:
            index.close()


def evaluate_retrieval(flow: Flow, data: Dataset, progress: Progress) -> RetrievalReport:
    """Rank the corpus for each query by the flow's steps before the first language model.

    A document's rank is that of its best chunk. Measures by ir-measures, which wraps
    trec_eval.
    """
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ImportError as error:
        raise ConfigError(
            "ir-measures is not installed", fix='pip install "modular-rag[eval]"'
        ) from error

    ranker = retrieval_part(flow)
    ranking: dict[str, dict[str, float]] = {}
    seconds = []
    for number, query in enumerate(data.queries):
        progress("ranking", number, len(data.queries))
        started = perf_counter()
        documents = ranker.invoke(query=query.text)["documents"]
        seconds.append(perf_counter() - started)
        order = dict.fromkeys(str(document.metadata["source"]) for document in documents)
        ranking[query.id] = {source: float(-rank) for rank, source in enumerate(order)}
    relevant = {query.id: query.relevant for query in data.queries}
    wanted = [nDCG @ 10, R @ 10, R @ 100, RR @ 10]
    means = ir_measures.calc_aggregate(wanted, relevant, ranking)
    ndcg, recall, recall_100, mrr = (round(float(means[measure]), 4) for measure in wanted)
    return RetrievalReport(
        data.name, flow.name, len(data.queries), len(data.documents),
        ndcg, recall, recall_100, mrr, round(1000 * statistics.median(seconds), 1),
    )  # fmt: skip


def evaluate_answers(
    flow: Flow,
    data: Dataset,
    progress: Progress,
    on_answer: Callable[[dict[str, Any]], None] | None = None,
) -> AnswersReport:
    """Answer each question and compare with the gold answers.

    Args:
        flow: Must write `answer`.
        data: Its queries must have answers.
        progress: Told after each question.
        on_answer: Takes each question's record.

    Raises:
        ConfigError: The data set has no answers.
    """
    queries = [query for query in data.queries if query.answers]
    if not queries:
        raise ConfigError(
            "the queries have no answers", where=data.name, fix="use data with metadata.answers"
        )
    scores: dict[str, list[float]] = {name: [] for name in MEASURES}
    seconds = []
    for number, query in enumerate(queries):
        progress("answering", number, len(queries))
        started = perf_counter()
        answer = str(flow.invoke(query=query.text)["answer"])
        seconds.append(perf_counter() - started)
        for name, measure in MEASURES.items():
            scores[name].append(measure(answer, query.answers))
        if on_answer:
            record = {"id": query.id, "question": query.text, "answers": list(query.answers)}
            latest = {name: values[-1] for name, values in scores.items()}
            on_answer({**record, "answer": answer, **latest, "seconds": seconds[-1]})
    means = {name: round(statistics.fmean(values), 4) for name, values in scores.items()}
    seconds.sort()
    return AnswersReport(
        data=data.name,
        pipeline=flow.name,
        questions=len(queries),
        exact_match=means["exact_match"],
        token_f1=means["token_f1"],
        containment=means["containment"],
        seconds_median=round(statistics.median(seconds), 2),
        seconds_p95=round(seconds[int(0.95 * (len(seconds) - 1))], 2),
    )


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


def report_dict(report: RetrievalReport | AnswersReport) -> dict[str, Any]:
    """The report as a mapping for JSON."""
    return asdict(report)
