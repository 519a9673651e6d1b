"""How much of the contexts a prefix cache has already, by the order of their documents.

    python benchmarks/context_order.py DATA [--prompts 500] [--passages 2000]

DATA is a folder in BEIR's format (`corpus.jsonl`). Each prompt has 4, 8 or 16 passages drawn from a
Zipf distribution (exponent 1). Printed: the share of the context's characters that stand in a
beginning that an earlier prompt had exactly, for the order in which they were drawn, the order by
name, and that of `order_for_reuse`; and the time that ordering takes. The cache is unbounded, and
no model is run: `kv_sustained.py --mode prefix --order` does.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from itertools import accumulate, islice
from pathlib import Path
from time import perf_counter


def trace(texts: list[str], prompts: int, count: int) -> list[list[str]]:
    """The passages of each prompt."""
    chance = random.Random(0)
    weights = list(accumulate(1 / rank for rank in range(1, len(texts) + 1)))
    found = []
    for _ in range(prompts):
        drawn: dict[str, None] = {}
        while len(drawn) < count:
            drawn[chance.choices(texts, cum_weights=weights)[0]] = None
        found.append([*drawn])
    return found


def share(prompts: list[list[str]], order: Callable[[list[str]], Sequence[str]]) -> float:
    """Characters in beginnings that were there before, over all."""
    seen: set[tuple[str, ...]] = set()
    reused = total = 0
    for prompt in prompts:
        texts = tuple(order(prompt))
        for end, text in enumerate(texts, start=1):
            total += len(text)
            reused += len(text) * (texts[:end] in seen)
            seen.add(texts[:end])
    return reused / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--passages", type=int, default=2000)
    args = parser.parse_args()
    from rag.operators.context_orders import ContextOrders

    with (args.data / "corpus.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in islice(file, args.passages)]
    random.Random(1).shuffle(texts)
    print(f"{'passages':>8} {'as drawn':>9} {'by name':>9} {'ordered':>9} {'ms each':>9}")
    for count in (4, 8, 16):
        prompts = trace(texts, args.prompts, count)
        drawn, named = share(prompts, list), share(prompts, sorted)
        orders = ContextOrders()
        started = perf_counter()
        remembered = [orders.order({text: len(text) for text in one}) for one in prompts]
        ms = (perf_counter() - started) * 1000 / len(prompts)
        ordered = share([list(one) for one in remembered], list)
        print(f"{count:8} {drawn:9.1%} {named:9.1%} {ordered:9.1%} {ms:9.3f}")


if __name__ == "__main__":
    main()
