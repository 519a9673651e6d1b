"""Training how the chunks of a document count for its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from rag.errors import ConfigError
from rag.eval.compare import mean
from rag.eval.corpus import Corpus
from rag.extras import check_installed
from rag.flow import Flow
from rag.index import Index
from rag.index.attention import LearnedAttention
from rag.index.types import Candidates, NamedAggregate
from rag.models import Embedder
from rag.operators import DenseDocuments
from rag.train.ranker import RankerSettings
from rag.train.rankings import MEASURES, rankings

if TYPE_CHECKING:
    import numpy as np

    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.train.asked import Questions
    from rag.train.work import Work

DEPTH = 100
"""Documents of a ranking that is measured."""
NEAR = 50
"""Documents next to a question that it is to tell apart."""
LEAST_TEMPERATURE, WIDEST = 0.03, 20.0
"""Bounds of the temperature and of the length of the weights: exponents stay within a float's."""


@dataclass(frozen=True)
class AggregateSettings(RankerSettings):
    """How attention over chunks is trained.

    It has to beat the best of `mean`, `max` and `attention` on the learned questions. A data set
    without documents is about the index that `index` names.

    Attributes:
        embedder: Whose vectors are weighed, as a pipeline names it.
        scale: That scores are multiplied by in the loss.
        rate: Learning rate.
        decay: Of the weights, which begin at 0: the base.
        batch: Questions for each step.
        epochs: Times that all questions are gone through.
        seed: Of their orders.
    """

    chunks: ClassVar[bool] = False

    embedder: str
    scale: float = 20.0
    rate: float = 0.02
    decay: float = 0.01
    batch: int = 32
    epochs: int = 30
    seed: int = 0

    def require(self) -> None:
        """See `RankerSettings.require`."""
        check_installed("ir_measures", "train", where="rag train aggregate")

    def baseline(self, questions: Questions, work: Work, report: Progress) -> str:
        """What ranks best of what needs no training, on the learned questions."""
        learned, means = questions.learned, dict[str, float]()
        with Corpus(learned, work.folder / "indexes", report) as corpus:
            for name in get_args(NamedAggregate):
                rows = work.rows(f"learned-{name}")
                values = rankings(self.flow(corpus, name), learned, rows, report)
                means[name] = mean([one[next(iter(MEASURES))] for one in values.values()]) or 0.0
        return max(means, key=lambda name: means[name])

    def flow(self, corpus: Corpus, model: str) -> Flow:
        """Whole documents, ranked by their chunks."""
        # Bound by name: what only ranks is kept of a flow with what its steps bind.
        step = DenseDocuments.model_validate(
            {"k": DEPTH, "resources": {"aggregator": "aggregator"}}
        )
        flow = Flow(
            step, name="documents", inputs={"query": str},
            resources={"index": self.index, "embedder": self.embedder, "aggregator": model},
        )  # fmt: skip
        return corpus.bind(flow)

    def fit(
        self, questions: Questions, baseline: str, folder: Path, work: Work, report: Progress
    ) -> None:
        """See `RankerSettings.fit`."""
        with Corpus(questions.learned, work.folder / "indexes", report) as corpus:
            flow = self.flow(corpus, baseline)
            _trained(flow, questions.learned, self, report).save(folder)

    def card(self, name: str, baseline: str) -> tuple[str, str, str]:
        """See `RankerSettings.card`."""
        use = (
            f"In a pipeline: `aggregator: ./{name}` among the resources, for "
            f"`{{use: dense_documents}}`. It is of the vectors of `{self.embedder}`."
        )
        base = f"{baseline}, of {self.embedder}"
        return f"Attention over chunks {name}", base, use


@dataclass(frozen=True)
class Chunks:
    """The vectors of the chunks of documents.

    Attributes:
        vectors: float32 [chunks, dim], unit length, those of a document together.
        sources: Of each chunk the number of its document, rising from 0: int64 [chunks].
    """

    vectors: np.ndarray
    sources: np.ndarray


def _trained(
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
