"""The store: states from disk against states in memory, and what fewer bits cost.

    python benchmarks/kv_store.py [--model MODEL] [--chunks 8] [--rounds 7] [--json FILE]
                                  [--data FOLDER] [--questions 40]

First the store alone: milliseconds to read the states of chunks of 256 tokens and to rotate them
into a prompt's buffer, from memory, from disk at the first touch after a restart (a tier that has
seen no file, so that digests are computed), and later. Then the time to the first token of `concat`
and `focus` in the same three ways, as a share of memory's speed. All ways alternate in one process;
medians. Files are in the system's page cache.

With --data, a data set in BEIR's format whose queries have answers: for each form of storage bytes
per token, the KL divergence of the first token from that with states stored as they are (nats), and
the log-likelihood per token of full prefill's answer, as a difference to that with states as they
are, with twice its standard error; and that difference as a change of the likelihood in percent.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

from kv_ttft import Prompts, timed

MODES = {"concat": {"mode": "concat"}, "focus 15 %": {"mode": "focus", "fraction": 0.15}}
WAYS = ("memory", "disk, first touch", "disk, later")


def stores(folder: Path, storage: str, memory: Any) -> dict[str, Any]:
    """A store for each way of reading; that of the first touch is new at each call."""
    from rag.kvcache.store import DiskTier, KVStore, MemoryTier

    def disk() -> Any:
        return KVStore([MemoryTier(0), DiskTier(folder, storage=storage)])

    later = disk()
    for tier in later.tiers[1:]:
        for key in tier.keys():  # noqa: SIM118 - no mapping
            tier.get(key)
    return {WAYS[0]: memory, WAYS[1]: disk(), WAYS[2]: later}


def reading(engine: Any, folder: Path, storage: str, prompts: Any, options: Any) -> Any:
    """Way to the milliseconds of reading and rotating, and mode to those of the first token."""
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.store import DiskTier, KVStore, MemoryTier

    chunks = prompts.chunks(options.chunks)
    memory = KVStore([MemoryTier(2**32)])
    engine.store = memory
    for spec in MODES.values():
        timed(engine, prompts, chunks, spec)
    tier = DiskTier(folder, storage=storage)
    for key in memory.keys():  # noqa: SIM118
        tier.put(key, memory.tiers[0].get(key))
    tokens = sum(len(memory.tiers[0].get(key).ids) for key in memory.keys())  # noqa: SIM118
    size = tier.size()[1] / tokens
    tier.close()
    keys = [engine.keys.of("chunk", [prompts.prefix], chunk) for chunk in chunks]
    buffer = KVBuffer(engine.view.geometry, sum(map(len, chunks)))
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    first: dict[str, dict[str, list[float]]] = {m: {w: [] for w in WAYS} for m in MODES}
    for _ in range(options.rounds):
        opened = stores(folder, storage, memory)
        for way, store in opened.items():
            started = perf_counter()
            buffer.cut(0)
            store.prefetch(keys)
            for key, chunk in zip(keys, chunks, strict=True):
                tensors = store.get(key, chunk).entry.tensors
                positions = torch.arange(buffer.length, buffer.length + len(chunk))
                buffer.place_unrotated(tensors["keys"], tensors["values"], positions)
            alone[way].append(perf_counter() - started)
        for mode, spec in MODES.items():
            opened[WAYS[1]].close()
            opened[WAYS[1]] = stores(folder, storage, memory)[WAYS[1]]
            for way, store in opened.items():
                engine.store = store
                first[mode][way].append(timed(engine, prompts, chunks, spec)[0])
        for store in (opened[WAYS[1]], opened[WAYS[2]]):
            store.close()
    return {
        "bytes per token": size,
        "read": {way: statistics.median(each) for way, each in alone.items()},
        "first token": {
            mode: {way: statistics.median(each) for way, each in ways.items()}
            for mode, ways in first.items()
        },
    }


def loss(llm: Any, data: Path, questions: int) -> dict[str, Any]:
    """Storage and mode to divergence, and change of the log-likelihood with its error."""
    from rag.eval.contexts import parts, samples
    from rag.eval.loading import load_dataset
    from rag.kvcache.calibrate import divergence, greedy, likelihood
    from rag.kvcache.settings import ReuseSettings
    from rag.kvcache.store import KVStore, MemoryTier
    from rag.kvcache.store.quantize import Storage, dequantize, quantize

    engine, found = llm.engine, {}
    for sample in samples(load_dataset(data), questions, seed=7):
        prompt = parts(llm, sample.question, sample.chunks)
        plain = engine.store = KVStore([MemoryTier(2**32)])
        full = engine.prefill(*prompt.plain, ReuseSettings("full"), room=32)
        own = greedy(engine, full, 16, llm.ends)
        engine.warm(prompt.prefix, prompt.chunks)
        for name, spec in MODES.items():
            engine.store = plain
            base = engine.prefill(*prompt.plain, ReuseSettings(**spec), room=32)
            before = likelihood(engine, base, own)
            for storage in get_args(Storage)[1:]:
                engine.store = KVStore([MemoryTier(2**32)])
                for key in plain.keys():  # noqa: SIM118
                    entry = plain.tiers[0].get(key)
                    engine.store.put(key, dequantize(quantize(entry, storage)))
                done = engine.prefill(*prompt.plain, ReuseSettings(**spec), room=32)
                row = divergence(base, done), likelihood(engine, done, own) - before
                found.setdefault((storage, name), []).append(row)
    return {
        f"{storage}, {mode}": {
            "kl": statistics.fmean(kl for kl, _ in rows),
            "own": statistics.fmean(own for _, own in rows),
            "error": 2 * statistics.stdev(own for _, own in rows) / len(rows) ** 0.5,
        }
        for (storage, mode), rows in found.items()
    }


def main() -> None:
    """Measure and print the tables."""
    from rag.kvcache.store.quantize import Storage
    from rag.models import LLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    llm: Any = LLM.load({"model": options.model})
    engine = llm.engine
    prompts = Prompts(int(engine.view.config.vocab_size))
    results: dict[str, Any] = {}
    print(f"{options.chunks} chunks of 256 tokens; ms, and share of memory's speed")
    for storage in get_args(Storage):
        with tempfile.TemporaryDirectory() as folder:
            found = reading(engine, Path(folder), storage, prompts, options)
        results[storage] = found
        print(f"\n{storage}: {found['bytes per token']:,.0f} bytes per token")
        for name, times in {"reading": found["read"], **found["first token"]}.items():
            cells = (
                f"{way} {took * 1000:.1f} ({times[WAYS[0]] / took:.0%})"
                for way, took in times.items()
            )
            print(f"  {name:12}" + "   ".join(cells))
    if options.data:
        results["loss"] = loss(llm, options.data, options.questions)
        print(f"\nloss on {options.questions} questions")
        for name, row in results["loss"].items():
            print(
                f"  {name:20} KL {row['kl']:.5f}   own answer {row['own']:+.5f} "
                f"+- {row['error']:.5f} ({row['own']:+.2%})"
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
