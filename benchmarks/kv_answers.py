"""What reuse costs in answers, with a model that answers well: a reader trained for this.

    python benchmarks/kv_answers.py --data FOLDER --reader FOLDER [--model NAME]
        [--train 300] [--questions 100] [--rows FILE]

--data is a data set in BEIR's format whose queries have answers; each question stands over its gold
passage and four others, shuffled. A small model as it comes answers in sentences and misses half;
differences between modes drown in that. So a reader is trained first: low-rank adapters (LoRA, Hu
et al. 2021, arXiv 2106.09685) on all projections, gold answers as targets, full attention, other
questions (`rag.train`). It is stored in --reader, and used again from there; training goes on from
the last checkpoint. The map of `align` is fitted to the reader's own states on prompts of the
training questions.

Printed for each mode, on questions that the reader has not seen: share of greedy answers that
contain a gold answer, and token F1, with 95 % intervals by bootstrap, and both as shares of full
prefill's. Results by question are added to --rows; a run that was stopped goes on.
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
MODES: dict[str, dict[str, Any]] = {
    "full": {"mode": "full"},
    "concat": {"mode": "concat"},
    "align 0": {"mode": "align", "fraction": 0.0},
    "align 0.05": {"mode": "align", "fraction": 0.05},
    "align 0.1": {"mode": "align", "fraction": 0.1},
    "align 0.15": {"mode": "align", "fraction": 0.15},
    "focus 0.15": {"mode": "focus", "fraction": 0.15},
    "focus 0.3": {"mode": "focus", "fraction": 0.3},
}


def train(name: str, samples: list[Any], folder: Path) -> None:
    """Train a reader and store it as an adapter."""
    from rag.eval.contexts import parts
    from rag.models import LLM
    from rag.train.reader.lora import Lesson, LoraSettings, train_adapter

    llm = LLM.load({"model": name})
    end = min(llm.ends)
    lessons = [
        Lesson(parts(llm, one.question, one.chunks), (*llm.template.encode(one.answers[0]), end))
        for one in samples
    ]

    def progress(done: int, total: int, loss: float) -> None:
        print(f"{done} of {total}: loss {loss:.3f}", file=sys.stderr, flush=True)

    work = folder.with_suffix(".training")
    work.mkdir(parents=True, exist_ok=True)
    settings = LoraSettings(rate=5e-4, batch=4)
    train_adapter(name, lessons, settings, folder, work, progress)
    work.rmdir()


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % of the means of resampled values."""
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(1000))
    return means[25], means[974]


def table(rows: list[dict[str, tuple[float, float]]]) -> None:
    print(f"{len(rows)} questions\n{'mode':12}{'contained':>24}{'of full':>9}", end="")
    print(f"{'F1':>24}{'of full':>9}")
    for mode in rows[0]:
        line = f"{mode:12}"
        for column in (0, 1):
            values = [row[mode][column] for row in rows]
            mean, (low, high) = statistics.fmean(values), interval(values)
            full = statistics.fmean(row["full"][column] for row in rows)
            line += f"{mean:9.3f} [{low:5.3f}, {high:5.3f}]{mean / max(full, 1e-9):9.2f}"
        print(line)


def answers(llm: Any, alignment: Any, sample: Any) -> dict[str, tuple[float, float]]:
    """One question under all modes: contained, and F1."""
    from rag.eval.contexts import parts
    from rag.eval.metrics import contains, token_f1
    from rag.kvcache.calibrate import greedy
    from rag.kvcache.settings import ReuseSettings

    engine = replace(llm.engine, defaults=replace(llm.engine.defaults, alignment=alignment))
    prompt, found = parts(llm, sample.question, sample.chunks).plain, {}
    engine.warm(*prompt[:2])
    for name, numbers in MODES.items():
        done = engine.prefill(*prompt, ReuseSettings(**numbers), room=64)
        ids = greedy(engine, done, ANSWER_TOKENS, llm.ends, draft=8)
        text = llm.tokenizer.decode(ids, skip_special_tokens=True)
        found[name] = contains(text, sample.answers), token_f1(text, sample.answers)
    engine.store.clear()
    return found


def main() -> None:
    """Train the reader if it is not there, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reader", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--train", type=int, default=300, help="questions that it learns from")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=40, help="that the map is fitted to")
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    from rag.eval.contexts import parts, samples
    from rag.eval.loading import load_dataset
    from rag.kvcache.align.fit import fit_alignment
    from rag.models import LLM

    drawn = samples(load_dataset(options.data), options.questions + options.train, seed=7)
    unseen, learned = drawn[: options.questions], drawn[options.questions :]
    if not (options.reader / "adapter_config.json").exists():
        train(options.model, learned, options.reader)
    done = {}
    if options.rows and options.rows.exists():
        lines = [json.loads(line) for line in options.rows.read_text().splitlines()]
        done = {line["id"]: line["rows"] for line in lines}
    left = [one for one in unseen if one.id not in done]
    if left:
        llm = LLM.load({"model": str(options.reader.resolve()), "kv": {"memory": "1GB"}})
        fitted = learned[: options.prompts]
        prompts = [parts(llm, one.question, one.chunks).plain for one in fitted]
        alignment = fit_alignment(llm.engine.view, prompts)
        for sample in left:
            done[sample.id] = answers(llm, alignment, sample)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps({"id": sample.id, "rows": done[sample.id]}) + "\n")
            if len(done) % 10 == 0:
                print(f"{len(done)} of {len(unseen)}", file=sys.stderr, flush=True)
    table(list(done.values()))


if __name__ == "__main__":
    main()
