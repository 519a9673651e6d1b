"""Many prompts in a row: hit rate and time to the first token, a hundred prompts at a time.

    python benchmarks/kv_sustained.py DATA [--model MODEL] [--mode align] [--prompts 500]
                                      [--passages 2000] [--clients 2] [--memory 512MB] [--disk DIR]
                                      [--order] [--json FILE] [--quick]

DATA is a folder in BEIR's format: `corpus.jsonl` and `queries.jsonl`. Each prompt has four passages
drawn from a Zipf distribution (exponent 1) over `--passages` of them, and a question of the data,
no question twice. Clients send their next prompt when the last one is answered (16 tokens). With
--order passages are put in the order of `order_for_reuse` (for `--mode prefix`).
"""

import argparse
import asyncio
import json
import random
import statistics
from itertools import accumulate
from pathlib import Path
from time import perf_counter
from typing import Any


def lines(path: Path, count: int) -> list[str]:
    """The texts of the first lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for _, line in zip(range(count), file, strict=False)]


def zipf(chance: random.Random, passages: list[str], count: int) -> list[str]:
    """Different passages, each as likely as one over its rank."""
    weights = list(accumulate(1 / rank for rank in range(1, len(passages) + 1)))
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        chosen[chance.choices(passages, cum_weights=weights)[0]] = None
    return list(chosen)


async def serve(llm: Any, mode: str, prompts: list[Any], clients: int) -> list[dict[str, float]]:
    from rag.kvcache.settings import ReuseSettings
    from rag.models import Generation, Sampling

    rows: list[dict[str, float]] = []
    waiting = iter(prompts)

    async def client() -> None:
        for prompt in waiting:
            started, first = perf_counter(), None
            stream = llm.stream(prompt, Sampling(max_tokens=16), ReuseSettings(mode))
            async for piece in stream:
                first = first or perf_counter()
                if isinstance(piece, Generation):
                    chunks = piece.reuse["chunks"]
                    rows.append(
                        {
                            "ms": (first - started) * 1000,
                            "chunks": len(chunks),
                            "hits": sum(chunk["hit"] for chunk in chunks),
                        }
                    )

    await asyncio.gather(*(client() for _ in range(clients)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--mode", default="align")
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--passages", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--memory", default="512MB")
    parser.add_argument("--disk", type=Path)
    parser.add_argument("--order", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="40 prompts over 50 passages")
    args = parser.parse_args()
    every = 100
    if args.quick:
        args.prompts, args.passages, every = 40, 50, 10
    from rag.models import Prompt
    from rag.models.llm import LLMSpec
    from rag.models.opening.llm import open_local
    from rag.operators.context_orders import ContextOrders

    kv: dict[str, Any] = {"memory": args.memory}
    if args.disk:
        kv["disk"] = str(args.disk)
    llm = open_local(LLMSpec(model=args.model, kv=kv), Path())
    chance = random.Random(0)
    passages = lines(args.data / "corpus.jsonl", args.passages)
    questions = lines(args.data / "queries.jsonl", args.prompts)
    if len(questions) < args.prompts:
        questions = [
            f"{one} ({n})" for n in range(args.prompts // len(questions) + 1) for one in questions
        ]
    chance.shuffle(passages)
    drawn = [(question, zipf(chance, passages, 4)) for question in questions[: args.prompts]]
    orders = ContextOrders()
    prompts = [
        Prompt(
            question,
            "Answer.",
            orders.order({text: len(text) for text in texts}) if args.order else tuple(texts),
            numbered=False,
        )
        for question, texts in drawn
    ]
    rows = asyncio.run(serve(llm, args.mode, prompts, args.clients))
    found = []
    for start in range(0, len(rows), every):
        part = rows[start : start + every]
        times = sorted(row["ms"] for row in part)
        row = {
            "from": start,
            "hit rate": sum(one["hits"] for one in part) / sum(one["chunks"] for one in part),
            "p50 ms": statistics.median(times),
            "p95 ms": times[int(0.95 * (len(times) - 1))],
        }
        found.append(row)
        print({key: round(value, 2) for key, value in row.items()}, flush=True)
    if len(found) > 1:
        print("last over second, p50:", round(found[-1]["p50 ms"] / found[1]["p50 ms"], 2))
    llm.close()
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
