"""Time to first token: every composer against full prefill, warm and cold, memory and disk.

    python benchmarks/kv_ttft.py [--model MODEL] [--chunks 2 4 8 16] [--rounds 5] [--json FILE]
                                 [--plot FILE] [--gguf FILE]

Chunks of 256 random tokens, a question of 32, a prefix of 24. The time runs from the request to the
first token: hashing, look-up, load, rotation and repair are in it. `craft` finds its chunks as they
were computed in the opposite order; `align` has a map of the rank that calibration fits, fitted to
random chunks, as its numbers do not change its speed. Modes alternate inside one process; medians.
Then: the share of look-up, load and composing; states from disk; nothing stored; what the map would
take at the request; transformers' own reuse of a prefix; bytes of the store; and, where
llama-cpp-python and a GGUF file are given, llama.cpp with the same chunks in another order.
`kv_decode.py` measures what follows the first token.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

CHUNK, QUESTION, PREFIX = 256, 32, 24
MODES: dict[str, dict[str, Any]] = {
    "full": {"mode": "full"},
    "prefix": {"mode": "prefix"},
    "parallel": {"mode": "parallel"},
    "ape": {"mode": "ape"},
    "concat": {"mode": "concat"},
    "epic 16": {"mode": "epic", "first": 16},
    "blend 15 %": {"mode": "blend", "fraction": 0.15},
    "focus 15 %": {"mode": "focus", "fraction": 0.15},
    # A prompt that comes again would need no repair.
    "craft 15 %": {"mode": "craft", "fraction": 0.15, "write_back": 1.0},
    "align 0 %": {"mode": "align", "fraction": 0.0},
    "align 5 %": {"mode": "align", "fraction": 0.05},
    "align 15 %": {"mode": "align", "fraction": 0.15},
}
DISK = ("parallel", "concat", "focus 15 %", "align 0 %", "align 15 %")


class Prompts:
    """Random chunks, and questions that are never the same."""

    def __init__(self, vocabulary: int, seed: int = 0) -> None:
        self._chance = random.Random(seed)
        self._vocabulary = vocabulary
        self.prefix = self.tokens(PREFIX)

    def tokens(self, count: int) -> list[int]:
        return [self._chance.randrange(50, self._vocabulary - 50) for _ in range(count)]

    def chunks(self, count: int) -> list[list[int]]:
        return [self.tokens(CHUNK) for _ in range(count)]


def timed(engine: Any, prompts: Prompts, chunks: Any, spec: dict[str, Any]) -> tuple[float, Any]:
    from rag.kvcache.settings import ReuseSettings

    question = prompts.tokens(QUESTION)
    started = perf_counter()
    done = engine.prefill(prompts.prefix, chunks, question, ReuseSettings(**spec))
    return perf_counter() - started, done.report


def warm(
    engine: Any, prompts: Prompts, rounds: int, count: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds to the first token of each mode, everything stored; and the share of reading."""
    chunks = prompts.chunks(count)
    for spec in MODES.values():
        if spec["mode"] != "full":
            timed(engine, prompts, chunks[::-1] if spec["mode"] == "craft" else chunks, spec)
    engine.store.flush()
    times: dict[str, list[float]] = {name: [] for name in MODES}
    shares: dict[str, list[float]] = {name: [] for name in MODES}
    for number in range(rounds):
        for name, spec in MODES.items():
            if name == "full" and number >= max(2, rounds // 2):
                continue
            took, report = timed(engine, prompts, chunks, spec)
            times[name].append(took)
            parts = report.milliseconds
            read = sum(parts.get(part, 0.0) for part in ("lookup", "compose"))
            shares[name].append(read / parts["first_token"])
    return medians(times), medians(shares)


def random_map(engine: Any, prompts: Prompts) -> Any:
    """A map of alignment, fitted to random chunks."""
    from rag.kvcache.align.fit import fit_alignment

    return fit_alignment(engine.view, [(prompts.prefix, prompts.chunks(2), [])])


def mapping(engine: Any, prompts: Prompts, rounds: int, count: int) -> float:
    """Seconds that the map of `align` would take, were it applied at the request."""
    import torch

    shape, dtype = engine.view.geometry.shape(CHUNK), engine.view.geometry.dtype
    states = {name: torch.randn(shape).to(dtype) for name in ("keys", "values")}
    times = []
    for _ in range(rounds):
        started = perf_counter()
        for _ in range(count - 1):
            engine.defaults.alignment.states(states)
        times.append(perf_counter() - started)
    return statistics.median(times)


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(each) for name, each in times.items()}


def cold(engine: Any, prompts: Prompts, rounds: int, count: int) -> dict[str, float]:
    """Seconds of full prefill, and of `parallel` with nothing stored, storing included."""
    found: dict[str, list[float]] = {"full": [], "parallel": []}
    for _ in range(max(2, rounds // 2)):
        for name, each in found.items():
            chunks = prompts.chunks(count)
            each.append(timed(engine, prompts, chunks, {"mode": name})[0])
    return medians(found)


def reuse_by_transformers(
    name: str, engine: Any, prompts: Prompts, rounds: int, count: int
) -> tuple[float, float]:
    """First token behind a full hit: transformers' own cache, and our `prefix`."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    from rag.models.opening.find import find_model
    from rag.models.opening.gguf import library_folder

    folder = library_folder(find_model(name, Path()))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=engine.view.dtype).eval()
    chunks = prompts.chunks(count)
    context = [*prompts.prefix, *(one for chunk in chunks for one in chunk)]
    ours, theirs = [], []
    timed(engine, prompts, chunks, {"mode": "prefix"})
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(torch.tensor([context]), past_key_values=cache, logits_to_keep=1)
    for _ in range(rounds):
        question = torch.tensor([prompts.tokens(QUESTION)])
        with torch.inference_mode():
            started = perf_counter()
            found = model(question, past_key_values=cache, logits_to_keep=1).logits
            float(found[0, -1, 0])
            theirs.append(perf_counter() - started)
        cache.crop(-QUESTION)
        ours.append(timed(engine, prompts, chunks, {"mode": "prefix"})[0])
    return statistics.median(theirs), statistics.median(ours)


def by_llama_cpp(gguf: Path, counts: list[int]) -> dict[int, tuple[float, float]]:
    """Context tokens to seconds of the first token: first time, and chunks in another order."""
    from llama_cpp import Llama

    model = Llama(str(gguf), n_ctx=8192, n_threads=2, n_batch=512, verbose=False)
    found = {}
    for count in counts:
        prompts = Prompts(40000, seed=count)
        chunks = prompts.chunks(count)
        times = []
        for order in (chunks, chunks[::-1]):
            ids = [
                *prompts.prefix,
                *(one for chunk in order for one in chunk),
                *prompts.tokens(QUESTION),
            ]
            started = perf_counter()
            next(iter(model.generate(ids, temp=0)))
            times.append(perf_counter() - started)
        found[count * CHUNK] = (times[0], times[1])
        model.reset()
    return found


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--chunks", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--gguf", type=Path)
    options = parser.parse_args()
    from rag.kvcache.composition import Defaults
    from rag.models import LLM

    results: dict[str, Any] = {"warm": {}, "reading": {}, "disk": {}, "cold": {}, "prefix": {}}
    results["map"] = {}
    llm = LLM.load({"model": options.model, "kv": {"memory": "4GB"}})
    prompts = Prompts(int(llm.engine.view.config.vocab_size))
    defaults = Defaults(alignment=random_map(llm.engine, prompts))
    engine = replace(llm.engine, defaults=defaults)
    lengths = [count * CHUNK for count in options.chunks]
    for count in options.chunks:
        results["warm"][count * CHUNK], results["reading"][count * CHUNK] = warm(
            engine, prompts, options.rounds, count
        )
        results["cold"][count * CHUNK] = cold(engine, prompts, options.rounds, count)
        results["prefix"][count * CHUNK] = reuse_by_transformers(
            options.model, engine, prompts, options.rounds, count
        )
        results["map"][count * CHUNK] = mapping(engine, prompts, options.rounds, count)
        engine.store.clear()
    with tempfile.TemporaryDirectory() as folder:
        on_disk = LLM.load({"model": options.model, "kv": {"memory": 1, "disk": folder}}).engine
        on_disk = replace(on_disk, defaults=defaults)
        for count in options.chunks:
            chunks = prompts.chunks(count)
            times: dict[str, list[float]] = {name: [] for name in DISK}
            timed(on_disk, prompts, chunks, {"mode": "concat"})
            timed(on_disk, prompts, chunks, MODES["align 0 %"])
            on_disk.store.flush()
            for _ in range(options.rounds):
                for name, each in times.items():
                    each.append(timed(on_disk, prompts, chunks, MODES[name])[0])
            results["disk"][count * CHUNK] = medians(times)
        entries, size, _ = on_disk.store.tiers[1].size()
        tokens = sum(options.chunks) * CHUNK + PREFIX
        geometry = engine.view.geometry
        need = 2 * math.prod(geometry.shape(1)) * geometry.dtype.itemsize
        results["bytes per token"] = {"file": size / tokens, "tensors": need, "entries": entries}
        on_disk.store.close()
    show(results, lengths)
    if options.gguf:
        print("\nllama.cpp, seconds to the first token: first time, chunks in another order")
        results["llama.cpp"] = by_llama_cpp(options.gguf, options.chunks)
        for length, times in results["llama.cpp"].items():
            print(f"{length:6}  {times[0]:.3f}  {times[1]:.3f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if options.plot:
        plot(results["warm"], options.plot)


def show(results: dict[str, Any], lengths: list[int]) -> None:
    head = "".join(f"{length:>18}" for length in lengths)
    print(f"{'warm, in memory':20}{head}   ms (full / ours)")
    for name in MODES:
        cells = ""
        for length in lengths:
            times = results["warm"][length]
            cells += f"{times[name] * 1000:10.0f} ({times['full'] / times[name]:4.1f}x)"
        print(f"{name:20}{cells}")
    print("\nlook-up, load and composing, share of the time")
    for name in ("parallel", "concat", "focus 15 %"):
        print(f"{name:20}" + "".join(f"{results['reading'][n][name]:18.2f}" for n in lengths))
    print("\nwarm, from disk")
    for name in DISK:
        cells = ""
        for length in lengths:
            took = results["disk"][length][name]
            cells += f"{took * 1000:10.0f} ({results['warm'][length]['full'] / took:4.1f}x)"
        print(f"{name:20}{cells}")
    cells = "".join(
        f"{results['cold'][n]['parallel'] * 1000:10.0f} "
        f"({results['cold'][n]['full'] / results['cold'][n]['parallel']:4.2f}x)"
        for n in lengths
    )
    print(f"\n{'cold parallel':20}{cells}")
    cells = "".join(
        f"{results['map'][n] * 1000:10.0f} "
        f"({results['map'][n] / results['warm'][n]['align 0 %']:4.2f} of align 0 %)"
        for n in lengths
    )
    print(f"{'map at the request':20}{cells}")
    cells = "".join(
        f"{results['prefix'][n][1] * 1000:9.0f} /{results['prefix'][n][0] * 1000:5.0f}  "
        for n in lengths
    )
    print(f"{'prefix hit, ours / transformers ms':36}{cells}")
    print(f"bytes per token: {results['bytes per token']}")


def plot(found: dict[int, dict[str, float]], file: Path) -> None:
    """Milliseconds to the first token against the context's length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name in MODES:
        lengths = sorted(found)
        axes.plot(lengths, [found[n][name] * 1000 for n in lengths], marker="o", label=name)
    axes.set_yscale("log")
    axes.set_xlabel("context tokens")
    axes.set_ylabel("ms to the first token")
    axes.legend(ncols=2)
    figure.tight_layout()
    figure.savefig(file)


if __name__ == "__main__":
    main()
