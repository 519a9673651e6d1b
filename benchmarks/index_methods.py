"""How methods of indexing rank a corpus: late chunking, contexts, a graph, trees, aggregates.

    python benchmarks/index_methods.py --data DIR [--limit 100] [--chunk 64] [--only dense graph]

The corpus (in BEIR's format) is cut into chunks of so many tokens and indexed once for each way of
indexing; every flow ranks documents for the same questions. `--documents` keeps the documents that
the questions need and fills up with others, for ways that ask a model of every chunk.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from rag.eval.corpus import Corpus
from rag.eval.dataset import Dataset
from rag.eval.loading import load_dataset
from rag.eval.ranking import RankingResult, rank_all, ranking_rows
from rag.flow import load_flow

BOTH = """
- parallel:
    sparse: {use: bm25, k: 100}
    dense: {use: dense, k: 100}
  join: {use: rrf}
"""
AND_GRAPH = """
- parallel:
    sparse: {use: bm25, k: 100}
    dense: {use: dense, k: 100}
    graph: {use: graph, k: 100}
  join: {use: rrf}
"""
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "dense": ({}, "- {use: dense, k: 100}"),
    "hybrid": ({}, BOTH),
    "late dense": ({"late_chunking": True}, "- {use: dense, k: 100}"),
    "late hybrid": ({"late_chunking": True}, BOTH),
    "graph": ({}, "- {use: graph, k: 100}"),
    "hybrid then graph": ({}, f"{BOTH}- {{use: graph, k: 100}}"),
    "hybrid and graph": ({}, AND_GRAPH),
    "context dense": ({"describe": {"by": "context"}}, "- {use: dense, k: 100}"),
    "context hybrid": ({"describe": {"by": "context"}}, BOTH),
}
"""Name to what the index is made with, and how it is searched."""


def pipeline(name: str, chunk: int, llm: str) -> str:
    spec, steps = WAYS[name]
    index = {"path": "./index", "chunk_size": chunk, "chunk_overlap": 0, **spec}
    return (
        f"name: {name.replace(' ', '-')}\nresources: {{embedder: all-minilm-l6-v2, llm: {llm},"
        f" index: {index}}}\nsteps:\n{steps}"
    ).replace("True", "true")


def fewer(data: Dataset, documents: int) -> Dataset:
    """The documents that are relevant to a question, and the first others up to so many."""
    needed = {one for query in data.queries for one in query.relevant}
    others = [one for one in data.documents if one.id not in needed]
    kept = {one.id for one in others[: max(documents - len(needed), 0)]} | needed
    return replace(data, documents=[one for one in data.documents if one.id in kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--llm", default="smollm2-135m-instruct")
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    data = load_dataset(given.data, limit=given.limit)
    if given.documents:
        data = fewer(data, given.documents)
    found: dict[str, list[RankingResult]] = {}
    print(f"{'':18} {'nDCG@10':>8} {'recall':>8} {'MRR':>8} seconds   gain of nDCG over the first")
    with Corpus(data) as corpus:
        for name in WAYS:
            if given.only and name not in given.only:
                continue
            started = perf_counter()
            flow = corpus.bind(load_flow(pipeline(name, given.chunk, given.llm)))
            found[name] = rank_all(flow, data)
            row = ranking_rows(found)[-1]
            measures = (row.means[one] for one in ("ndcg_at_10", "recall_at_10", "mrr_at_10"))
            print(
                f"{name:18} {' '.join(f'{one:8.3f}' for one in measures)}"
                f" {perf_counter() - started:7.0f}   {row.gain}",
                flush=True,
            )


if __name__ == "__main__":
    main()
