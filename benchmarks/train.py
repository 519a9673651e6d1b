"""What training gains: an embedder, a reranker and attention over chunks, each with several seeds.

    python benchmarks/train.py --data DIR [--data DIR] [--only embedder ...] [--seeds 0 1 2]

Each training runs in a process of its own, so that its seconds and its peak memory are its own,
and is measured on the half of the questions that it did not learn; what does not pass the gate is
printed as such. `--queries` takes so many questions of a data set, `--triples` so many triples of
each, and `--epochs` is for trials. With `--indexes` the index of the untrained embedder is made
once, beforehand, and is not counted in any training's seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rag.eval.corpus import Corpus
from rag.eval.dataset import Dataset
from rag.eval.loading import load_dataset
from rag.flow import Flow
from rag.operators import Dense
from rag.train.aggregate import AggregateSettings
from rag.train.asked import questions
from rag.train.course import Course
from rag.train.embedder import EmbedderSettings
from rag.train.ranker import RankerSettings, train_ranker
from rag.train.reranker import RerankerSettings
from rag.train.triples import Mining

BASE = "all-minilm-l6-v2"
KINDS = ("embedder", "lora", "margin-mse", "reranker", "aggregate")


def settings_of(kind: str, given: argparse.Namespace, seed: int) -> RankerSettings:
    """How a model of a kind is trained."""
    index: Any = {"path": "./index", **({"chunk_size": given.chunk} if given.chunk else {})}
    if kind == "aggregate":
        epochs = given.epochs or AggregateSettings.epochs
        return AggregateSettings(given.model, epochs=epochs, seed=seed, index=index)
    if kind == "reranker":
        course = Course(rate=5e-5, epochs=given.epochs or 2, tokens=given.tokens, seed=seed)
        mining = Mining(each=given.triples or 8, seed=seed)
        return RerankerSettings(
            given.model, given.model, given.teacher, given.prior, course, mining, index=index
        )
    layers: Any = "lora" if kind == "lora" else "full"
    loss: Any = "margin-mse" if kind == "margin-mse" else "in-batch"
    rate = 5e-4 if layers == "lora" else 2e-5
    course = Course(rate=rate, epochs=given.epochs or 1, tokens=given.tokens, seed=seed)
    mining = Mining(each=given.triples or 4, seed=seed)
    return EmbedderSettings(
        given.model, layers, 16, loss, given.teacher, course, mining, index=index
    )


def indexed(data: Dataset, settings: RankerSettings, model: str, folder: Path) -> None:
    """Make the index of the untrained embedder, or what is missing of it."""
    resources = {"index": settings.index, "embedder": model}
    flow = Flow(Dense(), inputs={"query": str}, resources=resources)
    with Corpus(data, folder) as corpus:
        corpus.bind(flow)


def row(kind: str, given: argparse.Namespace, data: Path, seed: int, pipe: Any) -> None:
    """Send what a training gained, and what it took."""
    loaded = load_dataset(data, limit=given.queries, seed=seed)
    asked, settings = questions(loaded, seed=seed), settings_of(kind, given, seed)
    with tempfile.TemporaryDirectory() as folder:
        if given.indexes is not None:
            indexed(loaded, settings, given.model, given.indexes)
            shutil.copytree(given.indexes, Path(folder) / "model.training" / "indexes")
        started, used = time.perf_counter(), time.process_time()
        verdicts = train_ranker(asked, settings, Path(folder) / "model", {}, force=True)
    pipe.send(
        {
            "kind": kind, "data": data.name, "seed": seed,
            "results": [one.row() for one in verdicts],
            "passed": all(one.passed for one in verdicts if one.gates),
            "seconds": round(time.perf_counter() - started),
            "processor seconds": round(time.process_time() - used),
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--model", default=BASE)
    parser.add_argument("--teacher", default="rerank")
    parser.add_argument("--prior", type=float, default=2.0)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--triples", type=int)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--chunk", type=int, help="tokens of a chunk")
    parser.add_argument("--indexes", type=Path, help="folder that keeps the first index")
    parser.add_argument("--out", type=Path, help="JSONL of all figures")
    given = parser.parse_args()
    apart = multiprocessing.get_context("spawn")
    print(f"{'':24} {'seed':>4}  {'nDCG@10':15}  {'gain':25}  {'MRR@10 gain':25}  s (CPU)   MB")
    for data in given.data:
        for kind in given.only:
            for seed in given.seeds:
                here, there = apart.Pipe(duplex=False)
                process = apart.Process(target=row, args=(kind, given, data, seed, there))
                process.start()
                there.close()
                try:
                    found = here.recv()
                except EOFError:
                    raise SystemExit(f"{kind} on {data.name} with seed {seed} failed") from None
                process.join()
                _print(found)
                if given.out:
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(found) + "\n")


def _print(found: dict[str, Any]) -> None:
    ndcg, mrr = found["results"][:2]
    name = f"{found['data']} {found['kind']}"
    print(
        f"{name:24} {found['seed']:4}  {ndcg['before']:.4f}, {ndcg['after']:.4f}  "
        f"{ndcg['gain']:25}  {mrr['gain']:25}  {found['seconds']} ({found['processor seconds']})"
        f"  {found['peak MB']}{'' if found['passed'] else '  not passed'}",
        flush=True,
    )
    for one in found["results"]:
        if one["questions"].endswith("alone") and one["measure"] == "nDCG@10":
            print(f"{'':24} alone {one['after']:.4f}, {one['gain']}", flush=True)


if __name__ == "__main__":
    main()
