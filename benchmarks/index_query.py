"""How long does a search take over 100,000 chunks?

    python benchmarks/index_query.py [--chunks 100000] [--dim 384] [--k 20 --k 100]

Chunks are of Zipf-distributed words with random unit vectors, all seeded, in a temporary folder.
Prints p50 and p95 in milliseconds, chunks fetched: dense, sparse, the two with reciprocal rank
fusion one after the other, and dense and sparse under a filter that one chunk in ten passes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rag.index import Hit, Index, SourceUpdate
from rag.text.chunk import Chunk

BATCH = 5_000
VOCABULARY = 50_000
QUERIES = 60
WHERE = {"tenth": 3}


def words(draw: np.random.Generator, count: int, *, common: bool = True) -> str:
    """Words of a text; of a query, without the most common ones."""
    ranks = draw.zipf(1.2, count * 4)
    ranks = ranks[(ranks <= VOCABULARY) & (ranks > (0 if common else 20))][:count]
    return " ".join(f"w{rank}" for rank in ranks)


def unit_vectors(draw: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = draw.standard_normal((count, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(where: str, total: int, dim: int) -> None:
    draw = np.random.default_rng(0)
    index = Index.writer(where, embedder="random", dim=dim)
    for start in range(0, total, BATCH):
        count = min(BATCH, total - start)
        chunks = [Chunk(words(draw, 120), {"n": start + n, "tenth": n % 10}) for n in range(count)]
        plan = index.plan(f"batch{start}", chunks)
        index.write([SourceUpdate(plan, unit_vectors(draw, count, dim))])
    index.close()


def fused(rankings: list[list[Hit]], k: int) -> list[str]:
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, hit in enumerate(ranking):
            key = str(hit.chunk.id)
            scores[key] = scores.get(key, 0) + 1 / (60 + place)
    return sorted(scores, key=lambda key: -scores[key])[:k]


def times(search: Callable[[np.ndarray, str], object], dim: int) -> str:
    draw = np.random.default_rng(1)
    taken = []
    for _ in range(QUERIES):
        vector, text = unit_vectors(draw, 1, dim)[0], words(draw, 8, common=False)
        started = time.perf_counter()
        search(vector, text)
        taken.append((time.perf_counter() - started) * 1e3)
    # The first queries pay for reading the files.
    taken = sorted(taken[5:])
    return f"{taken[len(taken) // 2]:.1f} / {taken[len(taken) * 95 // 100]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--k", type=int, action="append")
    parser.add_argument("--address", help="of an index that is not there yet, on a server")
    arguments = parser.parse_args()
    dim = arguments.dim
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        where = arguments.address or f"{folder}/index"
        fill(where, arguments.chunks, dim)
        filled = time.perf_counter()
        index = Index.open(where)
        opened = time.perf_counter()
        print(f"{arguments.chunks} chunks of {dim} dimensions: {index.stats().bytes} bytes")
        print(f"filled in {filled - started:.1f} s, opened in {opened - filled:.3f} s\n")
        print("| k | dense p50 / p95 ms | sparse | both, fused | dense, filter | sparse, filter |")
        print("|---|---|---|---|---|---|")
        for k in arguments.k or [20, 100]:
            row = [
                times(lambda v, _, k=k: index.dense(v, k), dim),
                times(lambda _, t, k=k: index.sparse(t, k), dim),
                times(lambda v, t, k=k: fused([index.dense(v, k), index.sparse(t, k)], k), dim),
                times(lambda v, _, k=k: index.dense(v, k, where=WHERE), dim),
                times(lambda _, t, k=k: index.sparse(t, k, where=WHERE), dim),
            ]
            print(f"| {k} | " + " | ".join(row) + " |")
        index.close()


if __name__ == "__main__":
    main()
