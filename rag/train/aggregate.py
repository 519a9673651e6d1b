"""Training how the chunks of a document count for its score, and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rag.errors import ConfigError
from rag.eval.compare import mean
from rag.eval.corpus import Corpus, no_progress
from rag.flow import Flow
from rag.index import Index
from rag.index.attention import LearnedAttention
from rag.index.types import Candidates, NamedAggregate
from rag.models import Embedder
from rag.operators import DenseDocuments
from rag.train.card import write_card
from rag.train.gate import Verdict, refuse
from rag.train.rankings import MEASURES, compared, measured, rankings
from rag.train.work import Work

if TYPE_CHECKING:
    import numpy as np

    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.train.asked import Questions

DEPTH = 100
"""Documents of a ranking that is measured."""
NEAR = 50
"""Documents next to a question that it is to tell apart."""
LEAST_TEMPERATURE, WIDEST = 0.03, 20.0
"""Bounds of the temperature and of the length of the weights: exponents stay within a float's."""


@dataclass(frozen=True)
class AggregateSettings:
    """How attention is trained.

    Attributes:
        embedder: Whose vectors are weighed, as a pipeline names it.
        index: What a pipeline says of its index.
        scale: That scores are multiplied by in the loss.
        rate: Learning rate.
        decay: Of the weights, which begin at 0: the base.
        batch: Questions for each step.
        epochs: Times that all questions are gone through.
        seed: Of their orders.
    """

    embedder: str
    index: Any = field(default_factory=lambda: {"path": "./index"})
    scale: float = 20.0
    rate: float = 0.02
    decay: float = 0.01
    batch: int = 32
    epochs: int = 30
    seed: int = 0


@dataclass(frozen=True)
class Chunks:
    """The vectors of the chunks of documents.

    Attributes:
        vectors: float32 [chunks, dim], unit length, those of a document together.
        sources: Of each chunk the number of its document, rising from 0: int64 [chunks].
    """

    vectors: np.ndarray
    sources: np.ndarray


def train_aggregate(
    questions: Questions,
    settings: AggregateSettings,
    out: Path,
    about: Mapping[str, Any],
    *,
    licence: str = "",
    force: bool = False,
    report: Progress = no_progress,
) -> list[Verdict]:
    """Train attention over chunks, measure it, and save it if documents rank better by it.

    It has to beat the best of `mean`, `max` and `attention` on the learned questions.

    Args:
        questions: What is learned, and what is measured; a data set without documents is about
            the index that `settings.index` names.
        settings: How.
        out: The folder. `OUT.training` beside it holds what is under way.
        about: For the card: what the questions were made from.
        licence: Of the data, for the card.
        force: Save it whatever it gained; the card says so.
        report: Called with what is done, how much, and of how much.

    Returns:
        What was measured.

    Raises:
        GateError: It is not surely better; nothing was saved.
        ConfigError: `out` is there, a training with other settings was stopped there, or the
            index has none of the judged documents.
        ModelError: There is no such embedder.
    """
    everything = {**asdict(settings), **about}
    work = Work(out, {**everything, "questions": questions.digest})
    built = work.folder / "model"
    learned = questions.learned
    with Corpus(learned, work.folder / "indexes", report) as corpus:
        means = {}
        for name in get_args(NamedAggregate):
            flow = _ranked(corpus, settings, name)
            values = rankings(flow, learned, work.rows(f"learned-{name}"), report)
            means[name] = mean([one[next(iter(MEASURES))] for one in values.values()]) or 0.0
        base = max(means, key=lambda name: means[name])
        if not built.exists():
            flow = _ranked(corpus, settings, base)
            attention = _train(flow, learned, settings, report)
            part = built.with_suffix(".part")
            attention.save(part)
            part.rename(built)

    def ranked(name: str, aggregator: str) -> Any:
        def flow(corpus: Corpus, data: Dataset) -> Flow:
            return _ranked(corpus, settings, aggregator)

        return measured(name, questions, flow, work, report)

    found = compared(ranked("before", base), ranked("after", str(built.resolve())))
    passed = refuse(found, force)
    write_card(
        built, f"Attention over chunks {out.name}", f"{base}, of {settings.embedder}",
        f"In a pipeline: `aggregator: ./{out.name}` among the resources, for "
        f"`{{use: dense_documents}}`. It is of the vectors of `{settings.embedder}`.",
        everything, questions.counts(), found, licence=licence, passed=passed,
    )  # fmt: skip
    work.finish(built)
    return found


def _ranked(corpus: Corpus, settings: AggregateSettings, aggregator: str) -> Flow:
    # Bound by name: what only ranks is kept of a flow with what its steps bind.
    step = DenseDocuments.model_validate({"k": DEPTH, "resources": {"aggregator": "aggregator"}})
    flow = Flow(
        step, name="documents", inputs={"query": str},
        resources={
            "index": settings.index, "embedder": settings.embedder, "aggregator": aggregator,
        },
    )  # fmt: skip
    return corpus.bind(flow)


def _train(
    flow: Flow, data: Dataset, settings: AggregateSettings, report: Progress
) -> LearnedAttention:
    import numpy as np

    index = flow.resources.get("index", Index)
    embedder = flow.resources.get("embedder", Embedder)
    vectors = [embedder.embed_query(one.text) for one in data.queries]
    judged = {name for one in data.queries for name, grade in one.relevant.items() if grade > 0}
    where = {"$or": [{key: {"$in": sorted(judged)}} for key in ("source", "path")]}
    names: dict[str, int] = {}
    for vector in vectors:
        for hit in index.dense_sources(vector, NEAR):
            names.setdefault(hit.chunk.source, len(names))
    for hit in index.dense_sources(vectors[0], len(judged), where=where):
        names.setdefault(hit.chunk.source, len(names))
    chunks, called = _chunks(index, list(names))
    relevant = np.zeros((len(data.queries), len(called)), dtype=bool)
    for row, query in enumerate(data.queries):
        for at, both in enumerate(called):
            relevant[row, at] = any(query.relevant.get(one, 0) > 0 for one in both)
    if not relevant.any():
        fix = "give questions about documents of this index"
        raise ConfigError("the index has none of the judged documents", where=data.name, fix=fix)
    return learn(
        chunks, np.stack(vectors), relevant, settings, embedder.id,
        lambda done, total: report("training", done, total),
    )  # fmt: skip


def _chunks(index: Index, sources: Sequence[str]) -> tuple[Chunks, list[tuple[str, str]]]:
    """The chunks of documents as the index holds them, and each document's source and path."""
    import numpy as np

    held: list[np.ndarray] = []

    def in_order(candidates: Candidates) -> np.ndarray:
        held.append(candidates.vectors)
        return -np.arange(len(candidates.vectors), dtype=np.float32)

    total = index.stats().chunks
    any_vector = np.ones(index.dim, dtype=np.float32)
    where = {"source": {"$in": sorted(sources)}}
    # The one search that hands out vectors; scored by their places, its hits come in that order.
    hits = index.hybrid("", any_vector, total, depth=total, score=in_order, where=where)
    order = sorted(range(len(hits)), key=lambda at: hits[at].chunk.source)
    called: dict[str, tuple[str, str]] = {}
    numbers = []
    for at in order:
        chunk = hits[at].chunk
        called.setdefault(chunk.source, (chunk.source, chunk.path))
        numbers.append(len(called) - 1)
    return Chunks(held[0][order], np.array(numbers, dtype=np.int64)), list(called.values())


def learn(
    chunks: Chunks,
    queries: np.ndarray,
    relevant: np.ndarray,
    settings: AggregateSettings,
    embedder: str,
    progress: Any = lambda done, total: None,
) -> LearnedAttention:
    """Attention under which relevant documents score above others.

    The loss is the cross-entropy of each relevant document among all that are not relevant.

    Args:
        chunks: Of the documents.
        queries: float32 [questions, dim].
        relevant: Whether a document is: bool [questions, documents].
        settings: How.
        embedder: Id of whose vectors these are.
        progress: Called with the epochs that are done, and all.
    """
    import numpy as np
    import torch

    vectors = torch.from_numpy(np.ascontiguousarray(chunks.vectors, dtype=np.float32))
    sources, count = torch.from_numpy(chunks.sources), relevant.shape[1]
    asked, right = torch.from_numpy(queries), torch.from_numpy(relevant)
    sums = torch.zeros(count, vectors.shape[1]).index_add(0, sources, vectors)
    means = torch.nn.functional.normalize(sums)
    weights = torch.zeros(vectors.shape[1], requires_grad=True)
    heat = torch.tensor(0.1).log().requires_grad_()
    share = torch.tensor(-3.0, requires_grad=True)
    optimizer = torch.optim.AdamW(
        [{"params": [weights], "weight_decay": settings.decay},
         {"params": [heat, share], "weight_decay": 0.0}], lr=settings.rate,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(settings.seed)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(asked), generator=generator)
        for rows in order.split(settings.batch):  # type: ignore[no-untyped-call]
            cosines = asked[rows] @ vectors.T
            temperature = heat.exp().clamp(LEAST_TEMPERATURE)
            logits = (cosines - 1) / temperature + vectors @ weights
            each = (logits - logits.amax(1, keepdim=True).detach()).clamp(-60).exp()
            total = torch.zeros(len(rows), count).index_add(1, sources, each)
            attended = torch.zeros(len(rows), count).index_add(1, sources, each * cosines) / total
            part = share.sigmoid()
            scores = settings.scale * (
                (1 - part) * attended + part * (asked[rows] @ means.T)
            )  # fmt: skip
            wrong = scores.masked_fill(right[rows], -torch.inf).logsumexp(1, keepdim=True)
            losses = torch.logaddexp(wrong, scores) - scores
            loss = losses[right[rows]].mean()
            if not right[rows].any():
                continue
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                weights *= (WIDEST / weights.norm().clamp(1e-9)).clamp(max=1.0)
        progress(epoch + 1, settings.epochs)
    return LearnedAttention(
        weights.detach().numpy(), float(heat.detach().exp().clamp(LEAST_TEMPERATURE)),
        float(share.detach().sigmoid()), embedder,
    )  # fmt: skip
