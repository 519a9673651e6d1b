"""Sparse decoding: what it loses, and what a token takes behind long contexts.

    python benchmarks/kv_sparse.py --data FOLDER [--model MODEL] [--questions 20] [--sources 20]
                                   [--budgets 128 256 512] [--tokens 16] [--json FILE]

FOLDER is a data set as `kv_quality.py` reads it. Each question is put behind `--sources` passages,
and the answer that full prefill and dense decoding give is decoded again with a budget, token by
token: KL divergence of each next-token distribution from the dense one, and how often the most
likely token is the same. Then milliseconds of CPU time per token behind 512 to 4,096 tokens of
context, dense and with each budget, in turns inside one process.
"""

import argparse
import json
import statistics
from pathlib import Path
from time import process_time
from typing import Any

LENGTHS = (512, 1024, 2048, 4096)


def distributions(engine: Any, parts: Any, answer: list[int], sparse: int | None) -> Any:
    """Log-probabilities behind each token of an answer but the last: [tokens, vocabulary]."""
    import torch

    from rag.kvcache.passes import Pass
    from rag.kvcache.settings import ReuseSettings

    numbers = {} if sparse is None else {"sparse": sparse}
    done = engine.prefill(*parts.plain, ReuseSettings("full", **numbers), room=len(answer) + 1)
    rows = []
    with torch.inference_mode():
        for number, token in enumerate(answer[:-1]):
            one = Pass.consecutive([token], done.position + number, done.buffer, done.plan)
            rows.append(engine.view.forward(one)[0].float())
    return torch.stack(rows).log_softmax(-1)


def dense_answer(engine: Any, parts: Any, tokens: int) -> list[int]:
    """What full prefill and dense decoding say."""
    import torch

    from rag.kvcache.decode import decode
    from rag.kvcache.settings import ReuseSettings

    done = engine.prefill(*parts.plain, ReuseSettings("full"), room=tokens)
    with torch.inference_mode():
        return list(decode(engine.view, done, lambda logits: int(logits.argmax()), tokens))


def milliseconds(engine: Any, length: int, sparse: int | None, tokens: int) -> float:
    """CPU time per token behind a context of made-up tokens."""
    import torch

    from rag.kvcache.decode import decode
    from rag.kvcache.settings import ReuseSettings

    numbers = {} if sparse is None else {"sparse": sparse}
    context = [(n * 7919 + 11) % 40000 for n in range(length)]
    settings = ReuseSettings("prefix", **numbers)
    done = engine.prefill([1, 2], [context], list(range(9, 41)), settings, room=tokens + 1)
    with torch.inference_mode():
        work = decode(engine.view, done, lambda logits: int(logits.argmax()), tokens + 1)
        next(work)
        started = process_time()
        list(work)
    return (process_time() - started) / tokens * 1000


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--weights", default="full")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--budgets", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from rag.models import LLM

    llm = LLM.load({"model": options.model, "kv": {"memory": "2GB"}, "weights": options.weights})
    engine = llm.engine
    found: dict[str, Any] = {}
    if options.data:
        found["quality"] = quality(llm, options)
    times: dict[str, dict[int, list[float]]] = {}
    for _ in range(options.rounds):
        for length in LENGTHS:
            for budget in (None, *options.budgets):
                row = times.setdefault(str(budget or "dense"), {}).setdefault(length, [])
                row.append(milliseconds(engine, length, budget, options.tokens))
    print(f"{'ms per token':14}" + "".join(f"{n:>9}" for n in LENGTHS) + f"{'growth':>9}")
    for name, row in times.items():
        each = [statistics.median(row[length]) for length in LENGTHS]
        print(f"{name:14}" + "".join(f"{ms:9.1f}" for ms in each) + f"{each[-1] / each[0]:8.2f}x")
        found.setdefault("milliseconds", {})[name] = dict(zip(LENGTHS, each, strict=True))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def quality(llm: Any, options: argparse.Namespace) -> dict[str, Any]:
    """KL and agreement of each budget, printed as a table."""
    from rag.eval.contexts import parts as parts_of
    from rag.eval.contexts import samples as drawn
    from rag.eval.loading import load_dataset

    engine, found = llm.engine, {}
    samples = drawn(load_dataset(options.data), options.questions, others=options.sources - 1)
    rows: dict[int, list[tuple[float, float]]] = {budget: [] for budget in options.budgets}
    lengths = []
    for sample in samples:
        parts = parts_of(llm, sample.question, sample.chunks)
        lengths.append(sum(map(len, parts.plain[1])))
        answer = dense_answer(engine, parts, options.tokens)
        dense = distributions(engine, parts, answer, None)
        for budget in options.budgets:
            sparse = distributions(engine, parts, answer, budget)
            kl = float((dense.exp() * (dense - sparse)).sum(-1).mean())
            same = float((dense.argmax(-1) == sparse.argmax(-1)).float().mean())
            rows[budget].append((kl, same))
    print(f"{len(samples)} questions, {statistics.fmean(lengths):.0f} tokens of context on average")
    print(f"{'budget':14}{'KL':>9}{'same token':>12}")
    for budget, each in rows.items():
        kl, same = (statistics.fmean(column) for column in zip(*each, strict=True))
        found[budget] = {"kl": kl, "same": same}
        print(f"{budget:<14}{kl:9.4f}{same:12.3f}")
    return found


if __name__ == "__main__":
    main()
