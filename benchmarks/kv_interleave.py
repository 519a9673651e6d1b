"""A request that decodes beside one whose prompt is computed: gaps, cancelling, cost of slices.

    python benchmarks/kv_interleave.py [--model MODEL] [--tokens 2000] [--rounds 3] [--json FILE]
                                       [--quick]

A short prompt is being decoded when a prompt of 2,000 random tokens comes, in each mode, with
nothing stored and with everything stored. The gap is the time between two tokens of the first
request; its longest one beside the second request's prompt is compared with the median of the same
request alone. Then: how long the next request waits for its first token when the long one is
cancelled in its prompt, against the same request alone; and prefill in slices against prefill in
one pass, which alternate.
"""

import argparse
import asyncio
import json
import random
import statistics
from collections.abc import Generator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

MODES = ("full", "focus", "craft")
CHUNK = 250


class Requests:
    """Work for a scheduler, of random tokens."""

    def __init__(self, llm: Any) -> None:
        from rag.models.local.scheduler import Scheduler

        self.engine = llm.engine
        self.chance = random.Random(0)
        self.vocabulary = llm.engine.view.config.vocab_size
        self.scheduler = Scheduler(llm.engine.view.steps)

    def tokens(self, count: int) -> list[int]:
        return [self.chance.randrange(50, self.vocabulary - 50) for _ in range(count)]

    def chunks(self, tokens: int) -> list[list[int]]:
        return [self.tokens(CHUNK) for _ in range(tokens // CHUNK)]

    def answer(self, mode: str, chunks: list[list[int]], tokens: int) -> Generator[Any, Any, None]:
        from rag.kvcache.decode import decoding
        from rag.kvcache.settings import ReuseSettings

        settings, question = ReuseSettings(mode), self.tokens(32)
        done = yield from self.engine.prefilling([1, 2, 3], chunks, question, settings, tokens)
        yield from decoding(done, lambda logits: int(logits.argmax()), tokens)

    async def timed(self, work: Generator[Any, Any, None], times: list[float]) -> None:
        async for _ in self.scheduler.stream(work):
            times.append(perf_counter())  # noqa: PERF401 - read while it grows


async def gaps(requests: Requests, mode: str, chunks: list[list[int]]) -> dict[str, float]:
    """Milliseconds: the median gap alone, and the longest and median beside the other's prompt."""
    times: list[float] = []
    reading = asyncio.create_task(requests.timed(requests.answer("full", [], 4000), times))
    while len(times) < 40:  # noqa: ASYNC110 - the list is all that there is
        await asyncio.sleep(0.01)
    alone = statistics.median(b - a for a, b in pairwise(times[5:]))
    began, first = perf_counter(), []
    await requests.timed(requests.answer(mode, chunks, 1), first)
    beside = [time for time in times if began <= time <= first[0]] + [first[0]]
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    each = [b - a for a, b in pairwise([began, *beside])]
    return {
        "alone": alone * 1000,
        "median beside": statistics.median(each) * 1000,
        "longest beside": max(each) * 1000,
        "first token of the other": (first[0] - began) * 1000,
    }


async def cancelled(requests: Requests, chunks: list[list[int]]) -> dict[str, float]:
    """Milliseconds to the first token: alone, and right after a long prompt was cancelled."""
    result = {}
    for name in ("alone", "after a cancelled prompt"):
        if name != "alone":
            async with aclosing(requests.scheduler.stream(requests.answer("full", chunks, 1))) as s:
                reading = asyncio.create_task(anext(s))
                await asyncio.sleep(0.3)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        began, first = perf_counter(), []
        await requests.timed(requests.answer("full", [], 1), first)
        result[name] = (first[0] - began) * 1000
    return result


def slicing(requests: Requests, chunks: list[list[int]], rounds: int) -> dict[str, float]:
    """Milliseconds of a whole prompt, in one pass and in slices."""
    from rag.kvcache import passes
    from rag.kvcache.settings import ReuseSettings

    times: dict[str, list[float]] = {"one pass": [], "slices": [], "slices of 64": []}
    own = passes.SLICE
    for _ in range(rounds):
        for name, size in (("one pass", 1 << 30), ("slices", own), ("slices of 64", 64)):
            passes.SLICE = size
            started = perf_counter()
            requests.engine.prefill([1, 2, 3], chunks, requests.tokens(32), ReuseSettings("full"))
            times[name].append(perf_counter() - started)
    passes.SLICE = own
    return {name: statistics.median(all_) * 1000 for name, all_ in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="500 tokens, one round")
    args = parser.parse_args()
    if args.quick:
        args.tokens, args.rounds = 500, 1
    from rag.models.llm import LLMSpec
    from rag.models.opening.llm import open_local

    requests = Requests(open_local(LLMSpec(model=args.model), Path()))
    results: dict[str, Any] = {"gaps": {}}
    asyncio.run(gaps(requests, "full", requests.chunks(CHUNK)))  # what is loaded at first use is
    for mode in MODES:
        for stored in (False, True)[: 1 if mode == "full" else 2]:
            rows = []
            for _ in range(args.rounds):
                if not stored:
                    chunks = requests.chunks(args.tokens)
                requests.chance.shuffle(chunks)
                rows.append(asyncio.run(gaps(requests, mode, chunks)))
            name = f"{mode}, {'everything' if stored else 'nothing'} stored"
            row = {key: statistics.median(one[key] for one in rows) for key in rows[0]}
            row["longest / alone"] = max(one["longest beside"] / one["alone"] for one in rows)
            row["longest / median beside"] = max(
                one["longest beside"] / one["median beside"] for one in rows
            )
            results["gaps"][name] = row
            print(name, {key: round(value, 1) for key, value in row.items()}, flush=True)
    chunks = requests.chunks(args.tokens)
    results["cancelled"] = asyncio.run(cancelled(requests, chunks))
    print("cancelled", {key: round(value) for key, value in results["cancelled"].items()})
    results["slicing"] = slicing(requests, chunks, args.rounds)
    print("slicing", {key: round(value) for key, value in results["slicing"].items()})
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
