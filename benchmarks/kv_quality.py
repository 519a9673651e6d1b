"""What reuse costs in quality: every composer against full prefill on the same prompts.

    python benchmarks/kv_quality.py --data FOLDER [--other FOLDER] [--model NAME]
        [--questions 200] [--rows FILE] [--plot FILE]

FOLDER is a data set in BEIR's format whose queries have answers. Each question stands over its gold
passage and four others, shuffled by a seed. Printed for each mode and share recomputed: KL
divergence of the first token's distribution from full prefill's (nats), share of equal first
tokens, and the mean log-likelihood per token of full's own answer and of the gold answer,
teacher-forced, as differences to full's, with 95 % intervals by bootstrap over questions.

The map of `align` is fitted to prompts over other questions of the same data, and with --other once
more to prompts that are made of that collection's texts, with their sentences as questions
("align*"). The layers in which tokens are chosen are the defaults. Chunks of `craft` were seen in
other contexts before, each with half of this prompt's chunks.

Every question's results are added to --rows as soon as they are there; a run that was stopped goes
on. A small run for a model of one's own: --model NAME --questions 20 --prompts 24.
"""

import argparse
import json
import random
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ANSWER_TOKENS = 16
NAMES = ("kl", "agree", "own", "gold", "share")
Row = dict[str, float]


def modes(*, other: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name to the map's name and the settings."""
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "parallel": ("", {"mode": "parallel"}),
        "concat": ("", {"mode": "concat"}),
    }
    for fraction in (0.0, 0.05, 0.15, 0.3):
        found[f"align {fraction}"] = ("own", {"mode": "align", "fraction": fraction})
    if other:
        for fraction in (0.0, 0.15):
            found[f"align* {fraction}"] = ("other", {"mode": "align", "fraction": fraction})
    for fraction in (0.05, 0.15, 0.3):
        found[f"focus {fraction}"] = ("", {"mode": "focus", "fraction": fraction})
    for mode in ("blend", "epic", "random"):
        found[f"{mode} 0.15"] = ("", {"mode": mode, "fraction": 0.15})
    for fraction in (0.15, 0.3):  # last, as the store is emptied for it
        found[f"craft {fraction}"] = ("", {"mode": "craft", "fraction": fraction})
    return found


class Judge:
    """Runs modes on prompts and compares them with full prefill.

    Args:
        llm: The model.
        maps: Name to the map of alignment; "" is none.
    """

    def __init__(self, llm: Any, maps: dict[str, Any]) -> None:
        self.llm = llm
        self.engines = {
            name: replace(llm.engine, defaults=replace(llm.engine.defaults, alignment=one))
            for name, one in maps.items()
        }

    def prefill(self, question: str, chunks: tuple[str, ...], map_: str, **numbers: Any) -> Any:
        from rag.eval.contexts import parts
        from rag.kvcache.settings import ReuseSettings

        if numbers["mode"] == "epic":
            tokens = sum(map(self.llm.count, chunks)) / len(chunks)
            numbers = {"mode": "epic", "first": round(numbers["fraction"] * tokens)}
        prompt = parts(self.llm, question, chunks).plain
        return self.engines[map_].prefill(*prompt, ReuseSettings(**numbers), room=64)

    def question(
        self, sample: Any, wanted: dict[str, tuple[str, dict[str, Any]]]
    ) -> dict[str, Row]:
        """One question under all modes; the store is empty before and after."""
        from rag.eval.contexts import parts
        from rag.kvcache.calibrate import divergence, greedy, likelihood

        engine = self.engines[""]
        full = self.prefill(sample.question, sample.chunks, "", mode="full")
        own = greedy(engine, full, ANSWER_TOKENS, self.llm.ends, draft=8)
        gold = self.llm.template.encode(sample.answers[0])
        of_full = likelihood(engine, full, own), likelihood(engine, full, gold)
        prefix, chunks, _ = parts(self.llm, sample.question, sample.chunks).plain
        engine.warm(prefix, chunks)
        rows = {}
        for name, (map_, numbers) in wanted.items():
            if numbers["mode"] == "craft":  # which stores what it repairs
                engine.store.clear()
                for context in sample.other_contexts:
                    self.prefill(sample.question, context, "", mode="craft")
            done = self.prefill(sample.question, sample.chunks, map_, **numbers)
            again = sum(chunk.recomputed if chunk.hit else 0 for chunk in done.report.chunks)
            rows[name] = {
                "kl": divergence(full, done),
                "agree": float(done.logits.argmax() == full.logits.argmax()),
                "own": likelihood(engine, done, own) - of_full[0],
                "gold": likelihood(engine, done, gold) - of_full[1],
                "share": again / sum(map(len, chunks)),
            }
        engine.store.clear()
        return rows


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % of the means of resampled values."""
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(1000))
    return means[25], means[974]


def table(rows: dict[str, list[Row]]) -> None:
    print(f"{'mode':14}{'n':>5}{'recomp.':>8}{'agree':>7}", end="")
    print("".join(f"{name:>27}" for name in ("KL", "own - full", "gold - full")))
    for mode, each in rows.items():
        columns = {name: [row[name] for row in each] for name in NAMES}
        line = f"{mode:14}{len(each):5}{statistics.fmean(columns['share']):8.3f}"
        line += f"{statistics.fmean(columns['agree']):7.3f}"
        for name in ("kl", "own", "gold"):
            low, high = interval(columns[name])
            line += f"{statistics.fmean(columns[name]):9.4f} [{low:7.4f},{high:7.4f}]"
        print(line)


def plot(rows: dict[str, list[Row]], file: Path) -> None:
    """KL divergence against the share recomputed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    curves: dict[str, list[tuple[float, float]]] = {}
    for mode, each in rows.items():
        share, kl = (statistics.fmean(row[name] for row in each) for name in ("share", "kl"))
        curves.setdefault(mode.split()[0], []).append((share, kl))
    for name, points in curves.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set_yscale("log")
    axes.set_xlabel("share of the context recomputed")
    axes.set_ylabel("KL divergence of the first token from full prefill's, nats")
    axes.legend()
    figure.tight_layout()
    figure.savefig(file)


def fitted(llm: Any, samples: list[Any], name: str) -> Any:
    """A map of alignment, fitted to prompts."""
    from rag.eval.contexts import parts
    from rag.kvcache.align.fit import fit_alignment

    prompts = [parts(llm, one.question, one.chunks) for one in samples]
    prompts = [one.plain for one in prompts if one.total + 64 <= llm.window]
    print(f"fitting to {len(prompts)} prompts of {name}", file=sys.stderr, flush=True)
    return fit_alignment(llm.engine.view, prompts)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--other", type=Path, help="another collection to fit a map to")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=60, help="that a map is fitted to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="results by question, as lines of JSON")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    from rag.eval.contexts import made_up, samples
    from rag.eval.loading import load_dataset
    from rag.models import LLM

    wanted = modes(other=options.other is not None)
    lines = []
    if options.rows and options.rows.exists():
        lines = [json.loads(line) for line in options.rows.read_text().splitlines()]
    done = {line["id"]: line["rows"] for line in lines}
    data = load_dataset(options.data)
    questions = samples(data, options.questions, seed=options.seed)
    left = [one for one in questions if one.id not in done]
    if left:
        llm = LLM.load({"model": options.model, "kv": {"memory": "1GB"}})
        asked = {one.id for one in questions}
        spare = samples(data, options.questions + options.prompts, seed=options.seed + 1)
        others = [one for one in spare if one.id not in asked][: options.prompts]
        maps = {"": None, "own": fitted(llm, others, options.data.name)}
        if options.other:
            texts = [one.page_content for one in load_dataset(options.other).documents]
            texts = [one for one in texts if len(one) > 200]
            made = made_up(texts, options.prompts, seed=options.seed)
            maps["other"] = fitted(llm, made, options.other.name)
        judge = Judge(llm, maps)
        try:
            for sample in left:
                done[sample.id] = judge.question(sample, wanted)
                if options.rows:
                    with options.rows.open("a") as file:
                        file.write(json.dumps({"id": sample.id, "rows": done[sample.id]}) + "\n")
                if len(done) % 10 == 0:
                    print(f"{len(done)} of {len(questions)}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print(f"stopped after {len(done)} questions", file=sys.stderr)
    rows = {name: [one[name] for one in done.values() if name in one] for name in wanted}
    rows = {name: each for name, each in rows.items() if each}
    if rows:
        table(rows)
        if options.plot:
            plot(rows, options.plot)


if __name__ == "__main__":
    main()
