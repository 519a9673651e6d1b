"""What reuse costs in quality: every composer against full prefill on the same prompts.

    python benchmarks/kv_quality.py --data FOLDER [--questions 200] [--json FILE] [--plot FILE]

FOLDER is a data set in BEIR's format whose queries have answers. Each question stands over its gold
passage and four others, shuffled by a seed. Printed for each mode: share of greedy answers that
contain a gold answer, token F1, KL divergence of the first token's distribution from full's (nats),
share of equal first tokens, and the mean log-likelihood per token of the gold answer and of full's
own answer, teacher-forced, as a difference to full's, paired by question, with 95 % intervals by
bootstrap. Modes with a fraction are repeated over fractions without decoding, for the plot. T and
S of `ape` are found on other questions. Chunks of `craft` were seen in other contexts before, each
with half of this prompt's chunks; "as published" chooses tokens by their attention to that context.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ANSWER_TOKENS = 16
FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.5)


@dataclass
class Row:
    """One question under one mode."""

    kl: float
    agree: float
    gold: float
    own: float
    share: float
    contained: float | None = None
    f1: float | None = None


class Judge:
    """Runs modes on prompts and compares them with full prefill."""

    def __init__(self, llm: Any) -> None:
        self.llm, self.engine = llm, llm.engine

    def prefill(self, question: str, chunks: tuple[str, ...], settings: Any) -> Any:
        from rag.eval.contexts import parts

        prompt = parts(self.llm, question, chunks)
        return self.engine.prefill(*prompt, settings, room=64)

    def answer(self, done: Any) -> tuple[list[int], str]:
        """The greedy answer."""
        from rag.kvcache.calibrate import greedy

        ids = greedy(self.engine, done, ANSWER_TOKENS, self.llm.ends, draft=8)
        return ids, self.llm.tokenizer.decode(ids, skip_special_tokens=True)

    def row(self, sample: Any, settings: Any, full: dict[str, Any], *, decoded: bool) -> Row:
        from rag.eval.metrics import contains, token_f1
        from rag.kvcache.calibrate import divergence, likelihood

        done = self.prefill(sample.question, sample.chunks, settings)
        chunks = done.report.chunks
        again = sum(chunk.recomputed if chunk.hit else 0 for chunk in chunks)
        row = Row(
            kl=divergence(full["done"], done),
            agree=float(done.logits.argmax() == full["done"].logits.argmax()),
            gold=likelihood(self.engine, done, full["gold"]),
            own=likelihood(self.engine, done, full["own"]),
            share=again / sum(chunk.tokens for chunk in chunks),
        )
        if decoded:
            _, text = self.answer(done)
            row.contained = float(contains(text, sample.answers))
            row.f1 = token_f1(text, sample.answers)
        return row

    def full(self, sample: Any) -> tuple[dict[str, Any], Row]:
        """The reference for all modes; the chunks' states are stored on the way."""
        from rag.eval.contexts import parts
        from rag.eval.metrics import contains, token_f1
        from rag.kvcache.calibrate import likelihood
        from rag.kvcache.settings import ReuseSettings

        prefix, chunks, _ = parts(self.llm, sample.question, sample.chunks)
        self.engine.warm(prefix, chunks)
        for context in sample.other_contexts:
            self.prefill(sample.question, context, ReuseSettings(mode="craft"))
        done = self.prefill(sample.question, sample.chunks, ReuseSettings(mode="full"))
        own, text = self.answer(done)
        gold = self.llm.template.encode(sample.answers[0])
        row = Row(
            kl=0.0,
            agree=1.0,
            gold=likelihood(self.engine, done, gold),
            own=likelihood(self.engine, done, own),
            share=1.0,
            contained=float(contains(text, sample.answers)),
            f1=token_f1(text, sample.answers),
        )
        return {"done": done, "own": own, "gold": gold}, row


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % of the means of resampled values."""
    chance = random.Random(seed)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(1000))
    return means[25], means[974]


def summary(rows: list[Row], full: list[Row]) -> dict[str, Any]:
    """Means of a mode, likelihoods as differences to full, paired."""
    found: dict[str, Any] = {"share": statistics.fmean(row.share for row in rows)}
    for name in ("kl", "agree", "contained", "f1"):
        values = [getattr(row, name) for row in rows]
        if None not in values:
            found[name] = statistics.fmean(values)
            found[f"{name}_interval"] = interval(values)
    for name in ("gold", "own"):
        values = [getattr(a, name) - getattr(b, name) for a, b in zip(rows, full, strict=False)]
        found[name] = statistics.fmean(values)
        found[f"{name}_interval"] = interval(values)
    return found


def table(found: dict[str, dict[str, Any]]) -> None:
    head = f"{'mode':22}{'recomp.':>8}{'contain':>9}{'F1':>7}{'KL':>8}{'agree':>7}"
    print(head + f"{'LL gold - full':>28}{'LL own - full':>28}")
    for name, one in found.items():
        line = f"{name:22}{one['share']:8.2f}"
        line += f"{one['contained']:9.3f}{one['f1']:7.3f}" if "contained" in one else f"{'':16}"
        line += f"{one['kl']:8.4f}{one['agree']:7.3f}"
        for kind in ("gold", "own"):
            low, high = one[f"{kind}_interval"]
            line += f"{one[kind]:10.4f} [{low:7.4f},{high:7.4f}]"
        print(line)


def plot(found: dict[str, dict[str, Any]], file: Path) -> None:
    """Likelihood of full's own answer against the share recomputed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, one in found.items():
        curves.setdefault(name.split()[0], []).append((one["share"], one["own"]))
    for name, points in curves.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set_xlabel("share of the context recomputed")
    axes.set_ylabel("log-likelihood of full's answer, minus full's")
    axes.legend()
    figure.tight_layout()
    figure.savefig(file)


def modes(ape: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name to settings: modes that also answer, and those for the curves."""
    decoded: dict[str, Any] = {
        "parallel": {"mode": "parallel"},
        "ape": {"mode": "ape", "temperature": ape.temperature, "scale": ape.scale},
        "concat": {"mode": "concat"},
        "random 0.3": {"mode": "random", "fraction": 0.3},
        "epic 0.3": {"mode": "epic", "fraction": 0.3},
        "blend 0.3": {"mode": "blend", "fraction": 0.3},
        "craft as published, 1": {"mode": "craft", "alpha": 1.0, "by": "attention"},
        "craft as published, .45": {"mode": "craft", "alpha": 0.45, "by": "attention"},
        "craft 0.3": {"mode": "craft", "fraction": 0.3},
        "focus 0.3": {"mode": "focus", "fraction": 0.3},
        "focus 0.3 int8": {"mode": "focus", "fraction": 0.3},
    }
    curves = {
        f"{mode} {fraction}": {"mode": mode, "fraction": fraction}
        for mode in ("random", "blend", "focus", "craft", "epic")
        for fraction in FRACTIONS
    }
    return decoded, curves


def question(
    judges: dict[bool, Judge], sample: Any, wanted: dict[str, Any], decoded: dict[str, Any]
) -> dict[str, Row]:
    """One question under all modes; the stores are empty before and after."""
    from rag.eval.contexts import parts
    from rag.kvcache.settings import ReuseSettings

    full, row = judges[False].full(sample)
    found = {"full": row}
    prefix, chunks, _ = parts(judges[True].llm, sample.question, sample.chunks)
    judges[True].engine.warm(prefix, chunks)
    judges[True].engine.store.flush()
    mean = sum(map(len, chunks)) / len(chunks)
    for name, spec in wanted.items():
        numbers = dict(spec)
        if numbers["mode"] == "epic":
            numbers = {"mode": "epic", "first": round(numbers.pop("fraction") * mean)}
        judge = judges[name.endswith("int8")]
        settings = ReuseSettings(**numbers)
        found[name] = judge.row(sample, settings, full, decoded=name in decoded)
    for judge in judges.values():
        judge.engine.store.clear()
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--curves", type=int, default=40, help="questions for the curves")
    parser.add_argument("--calibrate", type=int, default=12, help="questions for T and S of ape")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    from rag.eval.beir import load_dataset
    from rag.eval.contexts import parts, samples
    from rag.kvcache.calibrate import calibrate
    from rag.models import LLM

    scratch = tempfile.TemporaryDirectory()
    small = {"memory": 1, "storage": "int8", "disk": scratch.name}
    judges = {
        int8: Judge(LLM.load({"model": options.model, "kv": kv}))
        for int8, kv in ((False, {"memory": "512MB"}), (True, small))
    }
    llm = judges[False].llm
    data = load_dataset(options.data)
    others = samples(data, options.calibrate, seed=options.seed + 1)
    ape = calibrate(llm.engine, [parts(llm, s.question, s.chunks) for s in others], 0.95, llm.ends)
    print(f"calibrated on {len(others)} other questions: {ape}", file=sys.stderr, flush=True)
    decoded, curves = modes(ape)
    rows: dict[str, list[Row]] = {"full": []}
    questions = samples(data, options.questions, seed=options.seed)
    try:
        for number, sample in enumerate(questions, start=1):
            wanted = {**decoded, **(curves if number <= options.curves else {})}
            for name, one in question(judges, sample, wanted, decoded).items():
                rows.setdefault(name, []).append(one)
            if number % 10 == 0:
                print(f"{number} of {len(questions)}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"stopped after {len(rows['full'])} questions", file=sys.stderr)
    found = {name: summary(each, rows["full"]) for name, each in rows.items()}
    table(found)
    if options.json:
        raw = {name: [asdict(row) for row in each] for name, each in rows.items()}
        options.json.write_text(json.dumps({"summary": found, "rows": raw}, indent=1))
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
