"""What does an index in a folder cost at a hundred thousand chunks, or a million?

    python benchmarks/index_scale.py FOLDER --chunks 1000000 [--data DIR] [--queries 100]

The index is made in FOLDER, and used again if it is there. Chunks are of 60 Zipf-distributed
words. Vectors: with `--data`, a folder with `corpus.jsonl` and `queries.jsonl`, mixtures of the
default embedder's vectors of its passages (two of them, and noise of their covariance), and queries
are its queries; without, clustered at random. All is seeded, but for the lists' k-means threads.
Searches over inverted lists and over all vectors alternate, query by query.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rag.index import Index, SourceUpdate
from rag.index.local.lists import Lists
from rag.index.types import Candidates
from rag.text.chunk import Chunk

DIM = 384
COMMIT = 1_024
WORDS = 60
VOCABULARY = 200_000
CLUSTERS = 2_000
NOISE = 0.35
K = 10
DEPTH = 100


def words(draw: np.random.Generator, count: int, *, common: bool = True) -> str:
    """Words of a text; of a query, without the most common ones."""
    ranks = draw.zipf(1.2, count * 4)
    ranks = ranks[(ranks <= VOCABULARY) & (ranks > (0 if common else 20))][:count]
    return " ".join(f"w{rank}" for rank in ranks)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Vectors:
    """Vectors of chunks and of queries."""

    def __init__(self, folder: Path, data: Path | None) -> None:
        self.draw = np.random.default_rng(0)
        if data is None:
            self.base = unit(self.draw.standard_normal((CLUSTERS, DIM)))
            self.root = np.eye(DIM, dtype=np.float32) * DIM**-0.5
            self.queries = self.of_chunks(1_000)
            return
        self.base, self.queries = (embedded(folder, data / f"{name}.jsonl") for name in
                                   ("corpus", "queries"))  # fmt: skip
        covariance = np.cov(self.base.T) + 1e-6 * np.eye(DIM)
        self.root = np.linalg.cholesky(covariance).T.astype(np.float32)

    def of_chunks(self, count: int) -> np.ndarray:
        one, other = self.draw.integers(0, len(self.base), (2, count))
        share = self.draw.uniform(0, 0.5, (count, 1)).astype(np.float32)
        noise = self.draw.standard_normal((count, DIM), dtype=np.float32) @ self.root
        return unit((1 - share) * self.base[one] + share * self.base[other] + NOISE * noise)


def embedded(folder: Path, file: Path) -> np.ndarray:
    """The vectors of the texts of a file, which are kept in the folder."""
    kept = folder / f"{file.stem}.npy"
    if not kept.exists():
        from rag.models import Embedder

        embedder = Embedder.load("all-minilm-l6-v2", base=Path())
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
        np.save(kept, embedder.embed(texts))
    vectors: np.ndarray = np.load(kept)
    return vectors


def fill(folder: Path, total: int, vectors: Vectors) -> dict[str, float]:
    """Make the index; returns what writing cost."""
    draw = np.random.default_rng(1)
    index = Index.writer(folder, embedder="synthetic", dim=DIM)
    index.index_metadata(["part"])
    taken = []
    for start in range(0, total, COMMIT):
        count = min(COMMIT, total - start)
        texts = [words(draw, WORDS) for _ in range(count)]
        # Parts of a hundredth each, once declared and once not.
        chunks = [
            Chunk(text, {"n": n, "part": n * 7 % 100, "other": n * 7 % 100})
            for n, text in enumerate(texts, start)
        ]
        new = vectors.of_chunks(count)
        started = time.perf_counter()
        index.write([SourceUpdate(index.plan(f"source{start}", chunks), new)])
        taken.append(time.perf_counter() - started)
    started = time.perf_counter()
    index.close()
    last = sorted(taken[-50:])
    return {
        "chunks written a second": total / sum(taken),
        "commit of 1,024 chunks, p50 of the last 50, ms": last[len(last) // 2] * 1e3,
        "commit of 1,024 chunks, max of the last 50, ms": last[-1] * 1e3,
        "closing the writer (lists are built), s": time.perf_counter() - started,
    }


@contextmanager
def flat() -> Iterator[None]:
    """Searches scan all vectors."""
    with patch.object(Lists, "effort", return_value=None):
        yield


def score(candidates: Candidates) -> np.ndarray:
    return candidates.dense + candidates.sparse / 20


def timed(search: Callable[[], object]) -> float:
    started = time.perf_counter()
    search()
    return (time.perf_counter() - started) * 1e3


def quantiles(taken: list[float]) -> str:
    ordered = sorted(taken)
    return f"{ordered[len(ordered) // 2]:.1f} / {ordered[len(ordered) * 95 // 100]:.1f}"


def opened(folder: Path, queries: np.ndarray) -> dict[str, float]:
    """Opening and searching for the first time, in this fresh process; memory after some more."""
    draw = np.random.default_rng(2)
    found: dict[str, float] = {}
    started = time.perf_counter()
    index = Index.open(folder)
    found["open, s"] = time.perf_counter() - started
    for number, vector in enumerate(queries[:50]):
        text = words(draw, 8, common=False)
        taken = timed(lambda v=vector, t=text: index.hybrid(t, v, K, depth=DEPTH, score=score))
        if number == 0:
            found["first query, s"] = taken / 1e3
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    memory = dict(line.split(":", 1) for line in lines)
    found["memory of a reader beyond mapped pages, MB"] = int(memory["RssAnon"].split()[0]) / 1e3
    return found


def searches(index: Index, queries: np.ndarray) -> list[tuple[str, str, str]]:
    """Rows of lists and of all vectors: p50 / p95 in milliseconds."""
    draw = np.random.default_rng(3)
    names = ("dense", "bm25", "hybrid", "hybrid, depth 10", "dense, new filter of 1 %",
             "bm25, that filter", "hybrid, that filter")  # fmt: skip
    taken: dict[tuple[str, bool], list[float]] = {(n, f): [] for n in names for f in (True, False)}
    recalled = []
    for number, vector in enumerate(queries):
        text = words(draw, 8, common=False)
        where = {"part": {"$in": [number % 100, f"no {number}"]}}
        with flat():
            right = {hit.chunk.id for hit in index.dense(vector, K)}
        recalled.append(len(right & {hit.chunk.id for hit in index.dense(vector, K)}) / K)

        def each(v: np.ndarray = vector, t: str = text, w: dict = where) -> Iterator[float]:
            yield timed(lambda: index.dense(v, K))
            yield timed(lambda: index.sparse(t, K))
            yield timed(lambda: index.hybrid(t, v, K, depth=DEPTH, score=score))
            yield timed(lambda: index.hybrid(t, v, K, depth=K, score=score))
            yield timed(lambda: index.dense(v, K, where=w))
            yield timed(lambda: index.sparse(t, K, where=w))
            yield timed(lambda: index.hybrid(t, v, K, depth=DEPTH, score=score, where=w))

        for name, milliseconds in zip(names, each(), strict=True):
            taken[name, False].append(milliseconds)
        with flat():
            index._store.reader._snapshot.filters.clear()
            for name, milliseconds in zip(names, each(), strict=True):
                taken[name, True].append(milliseconds)
    rows = [(name, quantiles(taken[name, False]), quantiles(taken[name, True])) for name in names]
    return [*rows, ("recall@10", f"{np.mean(recalled):.3f}", "1")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--opened", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = arguments.folder / f"index-{arguments.chunks}"
    notes = arguments.folder / f"written-{arguments.chunks}.json"
    vectors = Vectors(arguments.folder, arguments.data)
    queries = vectors.queries[: arguments.queries]
    if arguments.opened:
        print(json.dumps(opened(folder, queries)))
        return
    if not notes.exists():
        notes.write_text(json.dumps(fill(folder, arguments.chunks, vectors)), encoding="utf-8")
    command = [sys.executable, __file__, *sys.argv[1:], "--opened"]
    fresh = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = json.loads(notes.read_text(encoding="utf-8")) | json.loads(fresh)
    with closing(Index.open(folder)) as index:
        started = time.perf_counter()
        index.dense(queries[0], K, where={"other": 3})
        figures["new filter on a key without an index, ms"] = (time.perf_counter() - started) * 1e3
        stats = index.stats()
        print(f"{stats.chunks} chunks of {DIM} dimensions; bytes: {stats.bytes}")
        print(f"lists: {stats.lists}\n")
        print("| | |\n|---|---|")
        for name, value in figures.items():
            print(f"| {name} | {value:.4g} |")
        print("\n| p50 / p95, ms | lists | all vectors |\n|---|---|---|")
        for row in searches(index, queries):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
