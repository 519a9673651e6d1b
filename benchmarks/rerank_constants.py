"""Constants of `rerank` and `hybrid`, chosen on some collections and measured on the one left out.

    python benchmarks/rerank_constants.py --data FOLDER --data FOLDER --cache FOLDER

Each `--data` is a data set in BEIR's format. What the search and the token vectors give is computed
once and kept in `--cache`; the variants are then compared in seconds. Two ways of leaving out: a
whole collection, and a topic of one (its questions clustered by their embeddings). The tables
print what the best variant elsewhere gives there, beside some that are the same everywhere.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rag.eval.compare import paired_gain
from rag.eval.corpus import Corpus
from rag.eval.dataset import Dataset
from rag.eval.loading import load_dataset
from rag.flow import load_flow
from rag.index import Index
from rag.models import Embedder
from rag.operators.retrieval.hybrid import smoothed
from rag.operators.scores import standardised

DEPTH, RERANKED = 100, 30
PIPELINE = """
resources: {index: ./index, embedder: all-minilm-l6-v2}
steps: [{use: hybrid}]
"""


@dataclass
class Question:
    """What a search gives for one question.

    Args:
        sources: Of each candidate, its document.
        dense: Cosines: [n].
        sparse: BM25: [n].
        vectors: [n, dim].
        best: The highest similarity of each token of the question with each candidate's: [n, t].
        grades: Document to grade.
        vector: The question's.
    """

    sources: list[str]
    dense: np.ndarray
    sparse: np.ndarray
    vectors: np.ndarray
    best: np.ndarray
    grades: dict[str, int]
    vector: np.ndarray


@dataclass(frozen=True)
class Variant:
    """A first stage and a reranker, with their constants."""

    first: str = "rrf"
    """rrf, hybrid or dense"""
    sparse: float = 0.6
    smoothing: float = 0.0
    lead: bool = False
    """Whether smoothing falls with the lead of the first document."""
    rerank: bool = True
    prior: float = 0.0
    power: int = 1
    """That similarities are raised to."""
    spread: bool = True
    """Whether question tokens are weighted by how well they separate the candidates."""
    lexical: float = 0.0
    feedback: float = 0.0

    def __str__(self) -> str:
        parts = [self.first]
        if self.first == "hybrid":
            parts.append(f"sparse {self.sparse:g}")
            if self.smoothing:
                parts.append(f"smoothing {self.smoothing:g}{' by lead' if self.lead else ''}")
        if self.rerank:
            parts.append("rerank")
            parts += [f"power {self.power}"] * (self.power != 1)
            parts += ["spread"] * self.spread
            parts += [f"lexical {self.lexical:g}"] * bool(self.lexical)
            parts += [f"feedback {self.feedback:g}"] * bool(self.feedback)
            parts += [f"prior {self.prior:g}"] * bool(self.prior)
        return ", ".join(parts)


Scores = list[tuple[float, float]]
"""nDCG@10 and MRR@10 of each question."""

RERANK = Variant(lexical=0.2, feedback=0.15)
"""As `rerank` has them."""
HYBRID = Variant("hybrid", rerank=False)
"""As `hybrid` has them."""
GRID = [
    Variant(power=p, spread=s, lexical=x, feedback=f)
    for p, s, x, f in itertools.product((1, 2, 4), (False, True), (0.0, 0.2), (0.0, 0.15))
]
HYBRIDS = [
    Variant("hybrid", sparse=s, smoothing=m, lead=c, rerank=False)
    for s, m, c in itertools.product((0.3, 0.6, 1.0), (0.0, 0.5, 1.0, 2.0), (False, True))
    if m or not c
]
FIXED = {
    "rerank": [
        Variant(rerank=False),
        RERANK,
        replace(RERANK, power=4),
        replace(RERANK, feedback=0.0),
        replace(RERANK, lexical=0.0),
        replace(RERANK, spread=False),
        Variant(spread=False),
    ],
    "hybrid": [
        Variant(rerank=False),
        Variant("dense", rerank=False),
        HYBRID,
        replace(HYBRID, smoothing=1.0),
        replace(HYBRID, smoothing=2.0, lead=True),
        replace(RERANK, first="hybrid", prior=1),
        replace(RERANK, first="hybrid", prior=1, smoothing=1.0),
        replace(RERANK, first="hybrid", prior=1, smoothing=2.0, lead=True, power=4),
    ],
}
"""What is compared with the first of each, beside what is chosen."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=400, help="questions of each collection")
    parser.add_argument("--topics", type=int, default=4, help="of each collection")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    collections = {one.name: questions(one, given.limit, given.cache) for one in given.data}
    topics = {
        f"{name}/{number}": part
        for name, found in collections.items()
        for number, part in enumerate(by_topic(found, given.topics))
    }
    for what, grid in {"rerank": GRID, "hybrid": HYBRIDS}.items():
        for parts in (collections, topics):
            leave_out(what, parts, grid)


def leave_out(what: str, parts: Mapping[str, list[Question]], grid: Sequence[Variant]) -> None:
    """For each part the variant that is best on the others, measured on this one."""
    fixed = FIXED[what]
    table = {
        one: {name: measured(part, one) for name, part in parts.items()}
        for one in dict.fromkeys([*grid, *fixed])
    }
    print(f"\n### {what}, leaving out one of {len(parts)} parts\n")
    print("| left out | chosen on the others | nDCG@10 | MRR@10 | nDCG@10, gain | MRR@10, gain |")
    print("|---|---|---|---|---|---|")
    pooled: dict[str, tuple[Scores, Scores]] = {}
    base = fixed[0]
    for name in parts:
        elsewhere = [other for other in parts if other.split("/")[0] != name.split("/")[0]]
        if len(parts) > 2:
            elsewhere = [other for other in parts if other != name]

        def quality(one: Variant, elsewhere: Sequence[str] = elsewhere) -> float:
            return float(np.mean([np.mean(table[one][other]) for other in elsewhere]))

        best = max(grid, key=quality)
        group = name.split("/")[0] if len(parts) > 2 else name
        found, before = pooled.setdefault(group, ([], []))
        found += table[best][name]
        before += table[base][name]
        row(name, str(best), table[best][name], table[base][name])
    if len(parts) > len(pooled):
        for group, (found, before) in pooled.items():
            row(f"{group}, all", "", found, before)
        return  # the fixed ones are the same
    for one in fixed:
        for group in pooled:
            members = [name for name in parts if name.split("/")[0] == group]
            found = [score for name in members for score in table[one][name]]
            before = [score for name in members for score in table[base][name]]
            row(group, f"always: {one}", found, before)


def row(name: str, what: str, found: Scores, before: Scores) -> None:
    means = [f"{np.mean([one[at] for one in found]):.3f}" for at in (0, 1)]
    over = [
        str(paired_gain([one[at] for one in found], [one[at] for one in before])) for at in (0, 1)
    ]
    print(f"| {name} | {what} | {' | '.join([*means, *over])} |", flush=True)


def by_topic(found: list[Question], count: int) -> list[list[Question]]:
    """The questions by k-means of their vectors: spherical, from seeded centres."""
    vectors = np.stack([one.vector for one in found])
    rng = np.random.default_rng(0)
    centres = vectors[rng.choice(len(vectors), count, replace=False)]
    for _ in range(25):
        nearest = (vectors @ centres.T).argmax(axis=1)
        centres = np.stack([vectors[nearest == n].mean(axis=0) for n in range(count)])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return [[one for one, at in zip(found, nearest, strict=True) if at == n] for n in range(count)]


def measured(part: Sequence[Question], variant: Variant) -> Scores:
    return [score(question, variant) for question in part]


def score(question: Question, variant: Variant) -> tuple[float, float]:
    """nDCG@10 with linear gain, and MRR@10, as trec_eval has them; a document by its best chunk."""
    ranking = list(dict.fromkeys(question.sources[at] for at in ranked(question, variant)))[:10]
    grades = question.grades
    gains = np.array([max(grades.get(name, 0), 0) for name in ranking], dtype=float)
    ideal = np.array(sorted((max(g, 0) for g in grades.values()), reverse=True)[:10], dtype=float)
    best = float((ideal / np.log2(np.arange(2, len(ideal) + 2))).sum())
    ndcg = float((gains / np.log2(np.arange(2, len(gains) + 2))).sum()) / best if best else 0.0
    hits = np.flatnonzero(gains)
    return ndcg, 1 / (1 + hits[0]) if len(hits) else 0.0


def ranked(question: Question, variant: Variant) -> np.ndarray:
    """The candidates' positions, best first."""
    first = first_stage(question, variant)
    order = np.argsort(-first, kind="stable")
    if not variant.rerank:
        return order
    top = order[:RERANKED]
    scores = reranked(question, top, variant)
    if variant.prior:
        scores = standardised(scores) + variant.prior * standardised(first[top])
    return np.concatenate([top[np.argsort(-scores, kind="stable")], order[RERANKED:]])


def first_stage(question: Question, variant: Variant) -> np.ndarray:
    if variant.first == "dense":
        return question.dense
    if variant.first == "rrf":
        return rrf(question)
    scores = standardised(question.dense) + variant.sparse * standardised(question.sparse)
    if not variant.smoothing:
        return scores
    second, first = sorted(scores.tolist())[-2:]
    weight = variant.smoothing * (math.exp((second - first) / 2.0) if variant.lead else 1.0)
    return smoothed(scores, question.vectors.astype(np.float32), 5, weight)


def rrf(question: Question) -> np.ndarray:
    fused = np.zeros(len(question.dense))
    for scores in (question.dense, question.sparse):
        order = np.argsort(-scores, kind="stable")[:DEPTH]
        order = order[scores[order] > 0] if scores is question.sparse else order
        fused[order] += 1 / (60 + 1 + np.arange(len(order)))
    return fused


def reranked(question: Question, top: np.ndarray, variant: Variant) -> np.ndarray:
    best, vectors = question.best[top], question.vectors[top].astype(np.float32)
    sharp = np.clip(best, 0, 1) ** variant.power
    spread = best.max(axis=0) - best.mean(axis=0)
    if not variant.spread or not spread.sum():
        spread = np.ones(best.shape[1])
    scores = question.dense[top] + sharp @ (spread / spread.sum())
    lexical = question.sparse[top]
    if variant.lexical and lexical.max() > 0:
        scores = scores + variant.lexical * lexical / lexical.max()
    if variant.feedback:
        leaders = vectors[np.argsort(-scores, kind="stable")[:3]].mean(axis=0)
        scores = scores + variant.feedback * (vectors @ (leaders / np.linalg.norm(leaders)))
    return scores


def questions(folder: Path, limit: int, cache: Path) -> list[Question]:
    """What the search gives for each question of a data set, from the cache if it is there."""
    file = cache / f"{folder.name}-{limit}.npy"
    if not file.exists():
        data = load_dataset(folder, limit=limit)
        with Corpus(data, cache / "indexes") as corpus:
            resources = corpus.bind(load_flow(PIPELINE)).resources
            index, embedder = resources.get("index", Index), resources.get("embedder", Embedder)
            found = searched(data, index, embedder)
        np.save(file, np.array(found, dtype=object), allow_pickle=True)
    return list(np.load(file, allow_pickle=True))


def searched(data: Dataset, index: Index, embedder: Embedder) -> list[Question]:
    tokens: dict[str, np.ndarray] = {}
    for chunks in index.batches(512):
        vectors = embedder.token_vectors([chunk.embedding_text for chunk in chunks])
        tokens |= {one.id: v.astype(np.float16) for one, v in zip(chunks, vectors, strict=True)}
        print(f"{data.name}: token vectors of {len(tokens)} chunks", flush=True)
    found = []
    for query in data.queries:
        seen: list[Any] = []

        def score(candidates: Any, seen: list[Any] = seen) -> np.ndarray:
            seen.append(candidates)
            return candidates.dense

        vector = embedder.embed_query(query.text)
        hits = index.hybrid(query.text, vector, 4 * DEPTH, depth=DEPTH, score=score)
        (all_,) = seen
        order = np.lexsort((np.arange(len(all_.dense)), -all_.dense))
        asked = embedder.token_vectors([query.text], query=True)[0]
        best = [(asked @ tokens[hit.chunk.id].astype(np.float32).T).max(axis=1) for hit in hits]
        found.append(
            Question(
                [hit.chunk.source for hit in hits],
                all_.dense[order], all_.sparse[order], all_.vectors[order].astype(np.float16),
                np.stack(best), dict(query.relevant), vector,
            )
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
