"""Decoding and whole answers: ours, transformers' `generate`, llama.cpp.

    python benchmarks/kv_decode.py [--model MODEL] [--words FOLDER] [--tokens 32] [--rounds 3]
                                   [--gguf FILE] [--json FILE]

Contexts are chunks of 256 tokens of the texts in FOLDER (default: the handbook in `examples/`).
First: milliseconds per token behind 512 to 4,096 tokens of context, greedy, with our weights as
they are, in eight bits and in four, and with speculation where the answer quotes the context. Then:
seconds for a whole answer of `--tokens` tokens over 4,096 tokens of context whose chunks were all
seen before, in an order that is new each time. llama.cpp takes part where llama-cpp-python is
installed and the model has a GGUF file. The programs alternate inside one process; medians.
"""

import argparse
import importlib.util
import json
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

CHUNK = 256
LENGTHS = (512, 1024, 2048, 4096)
QUESTION = "Repeat the last source word for word."
SYSTEM = "Answer the question from the sources."


class Texts:
    """Chunks of real text, in any order."""

    def __init__(self, llm: Any, folder: Path) -> None:
        from rag.models import Prompt

        words = "\n\n".join(p.read_text() for p in sorted(folder.rglob("*.md")))
        ids = llm.template.encode(words)
        self.chunks = [ids[at : at + CHUNK] for at in range(0, len(ids) - CHUNK, CHUNK)]
        prompt = Prompt(QUESTION, SYSTEM, ("x",), numbered=False)
        self.prefix, _, self.suffix, *_ = llm.template.tokenize(prompt)
        self._chance = random.Random(0)

    def some(self, length: int) -> list[list[int]]:
        return self._chance.sample(self.chunks, length // CHUNK)

    def flat(self, chunks: list[list[int]]) -> list[int]:
        return [*self.prefix, *(one for chunk in chunks for one in chunk), *self.suffix]


class Ours:
    """One of our settings; everything is stored before it is timed."""

    def __init__(self, llm: Any, texts: Texts, mode: str, draft: int = 0) -> None:
        from rag.kvcache.settings import ReuseSettings

        numbers = {"fraction": 0.15} if mode == "focus" else {}
        self.settings = ReuseSettings(mode=mode, **numbers)
        self.engine, self.texts, self.draft = llm.engine, texts, draft

    def seen(self, chunks: list[list[int]]) -> None:
        self.engine.prefill(self.texts.prefix, chunks, self.texts.suffix, self.settings)
        self.engine.store.flush()

    def answer(self, chunks: list[list[int]], tokens: int) -> Iterator[int]:
        from rag.kvcache.decode import decode

        done = self.engine.prefill(
            self.texts.prefix, chunks, self.texts.suffix, self.settings, room=tokens + 16
        )
        quoted = [one for chunk in chunks for one in chunk] if self.draft else ()
        yield from decode(
            self.engine.view, done, lambda logits: int(logits.argmax()), tokens, quoted, self.draft
        )


class Transformers:
    """`generate` of a model of its own, which nothing was done to."""

    def __init__(self, model: Any, texts: Texts) -> None:
        self.model, self.texts = model, texts

    def seen(self, chunks: list[list[int]]) -> None:
        pass  # it keeps nothing between requests

    def answer(self, chunks: list[list[int]], tokens: int) -> Iterator[int]:
        import torch
        from transformers.generation.streamers import BaseStreamer

        times: list[float] = []

        class Clock(BaseStreamer):
            def put(self, value: Any) -> None:
                times.append(perf_counter())

            def end(self) -> None:
                pass

        ids = torch.tensor([self.texts.flat(chunks)])
        self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            streamer=Clock(),
        )
        self.per_token = (times[-1] - times[1]) / (len(times) - 2)
        yield from ()


class LlamaCpp:
    """llama.cpp, with its own prefix cache of the last prompt."""

    def __init__(self, gguf: Path, texts: Texts) -> None:
        from llama_cpp import Llama

        self.model = Llama(str(gguf), n_ctx=8192, n_threads=2, n_batch=512, verbose=False)
        self.texts = texts

    def seen(self, chunks: list[list[int]]) -> None:
        list(self._generate(chunks, 1))

    def answer(self, chunks: list[list[int]], tokens: int) -> Iterator[int]:
        yield from self._generate(chunks, tokens)

    def _generate(self, chunks: list[list[int]], tokens: int) -> Iterator[int]:
        for number, token in enumerate(self.model.generate(self.texts.flat(chunks), temp=0), 1):
            yield token
            if number == tokens:
                return


def per_token(one: Any, chunks: list[list[int]], tokens: int) -> float:
    """Milliseconds per token behind the first."""
    if isinstance(one, Transformers):
        list(one.answer(chunks, tokens + 1))
        return one.per_token * 1000
    answer = one.answer(chunks, tokens + 1)
    next(answer)
    started = perf_counter()
    list(answer)
    return (perf_counter() - started) / tokens * 1000


def whole(one: Any, chunks: list[list[int]], tokens: int) -> float:
    """Seconds of a whole answer."""
    started = perf_counter()
    list(one.answer(chunks, tokens))
    return perf_counter() - started


def alternate(
    rounds: int,
    contestants: dict[str, Any],
    run: Callable[[Any, list[list[int]], int], float],
    orders: Callable[[], list[list[int]]],
    tokens: int,
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        chunks = orders()
        for name, one in contestants.items():
            times[name].append(run(one, chunks, tokens))
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--words", type=Path, default=Path(__file__).parents[1] / "examples")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gguf", type=Path, help="for llama.cpp; default: the model's own file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM

    from rag.models import LLM
    from rag.models.opening.find import find_model
    from rag.models.opening.gguf import library_folder

    kinds = ("full", "int8", "int4") if find_model(options.model, Path()).gguf else ("full", "int8")
    opened = {
        kind: LLM.load({"model": options.model, "kv": {"memory": "2GB"}, "weights": kind})
        for kind in kinds
    }
    plain = AutoModelForCausalLM.from_pretrained(
        library_folder(find_model(options.model, Path())), dtype=opened["full"].engine.view.dtype
    ).eval()
    texts = Texts(opened["full"], options.words)
    decoders: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    for kind, llm in opened.items():
        draft = 8 if kind == "full" else 3
        decoders[f"ours, {kind}"] = Ours(llm, texts, "prefix")
        decoders[f"ours, {kind}, quoting"] = Ours(llm, texts, "prefix", draft)
        for mode in ("parallel", "focus"):
            answers[f"ours, {mode}, {kind}"] = Ours(llm, texts, mode, draft)
    decoders["transformers"] = answers["transformers"] = Transformers(plain, texts)
    gguf = options.gguf or find_model(options.model, Path()).gguf
    if gguf and importlib.util.find_spec("llama_cpp"):
        decoders["llama.cpp"] = answers["llama.cpp"] = LlamaCpp(gguf, texts)
    found: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        for length in LENGTHS:
            chunks = texts.some(length)
            for one in decoders.values():
                one.seen(chunks)
            found[str(length)] = alternate(
                options.rounds, decoders, per_token, lambda kept=chunks: kept, options.tokens
            )
        chunks = texts.some(LENGTHS[-1])
        for one in answers.values():
            one.seen(chunks)
        chance = random.Random(1)
        found["answer"] = alternate(
            options.rounds,
            answers,
            whole,
            lambda: chance.sample(chunks, len(chunks)),
            options.tokens,
        )
    print(f"{'ms per token':22}" + "".join(f"{n:>10}" for n in LENGTHS) + f"{'growth':>9}")
    for name in decoders:
        row = [found[str(n)][name] for n in LENGTHS]
        print(f"{name:22}" + "".join(f"{ms:10.1f}" for ms in row) + f"{row[-1] / row[0]:8.2f}x")
    if "llama.cpp" not in decoders:
        print("llama.cpp               absent: pip install llama-cpp-python, and give --gguf FILE")
    print(f"\n{options.tokens} tokens over {LENGTHS[-1]} in a new order, s (transformers / this)")
    for name, took in found["answer"].items():
        print(f"{name:26}{took:8.2f} ({found['answer']['transformers'] / took:4.1f}x)")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
