"""How near a search comes to the best configuration, at equal budget, on a recorded grid.

    python benchmarks/tune.py --record grid.json --data FOLDER   # once
    python benchmarks/tune.py --grid grid.json --budget 1500

The grid has the value of every question under every configuration, so a search costs milliseconds.
A search puts `budget` questions to configurations and names one; its regret is how much better the
best one is, over all questions. `random` and `tpe` measure as many configurations as the budget
allows on a fixed number of questions each, and take the one with the best mean.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rag.flow import Flow, Operator
from rag.tune.dimensions import Choice
from rag.tune.journal import Entry
from rag.tune.propose import Known, known_of, new_configs, propose
from rag.tune.search import Search
from rag.tune.settings import Settings
from rag.tune.space import Space, config_key
from rag.tune.state import BASELINE, State

BLOCK = 8
PIPELINE = """
resources: {index: ./index, embedder: all-minilm-l6-v2}
steps:
  - parallel:
      sparse: {use: bm25, k: 100}
      dense: {use: dense, k: 100}
    join: {use: rrf}
  - {use: mmr, k: 10}
tune:
  maximise: ndcg_at_10
  space:
    steps.parallel:
      choose:
        sparse: {use: bm25, k: 50}
        dense: {use: dense, k: 50}
        rrf: {parallel: {sparse: {use: bm25, k: 50}, dense: {use: dense, k: 50}}, join: {use: rrf}}
        weighted:
          parallel: {sparse: {use: bm25, k: 50}, dense: {use: dense, k: 50}}
          join: {use: weighted_sum}
    steps.mmr:
      choose:
        none: null
        rerank: {use: rerank, k: 10}
        mmr: {use: mmr, k: 10}
    steps.mmr.weight: {choose: [0.3, 0.6, 0.9], when: {steps.mmr: mmr}}
    steps.rerank.k: {choose: [5, 10, 20, 40], when: {steps.mmr: rerank}}
"""


class Grid:
    """Every configuration's values.

    Args:
        names: Dimension to the names of its options.
        rows: Configuration (`config_key`) to a value for each question.
    """

    def __init__(self, names: Mapping[str, list[str]], rows: Mapping[str, list[float]]) -> None:
        self.rows = dict(rows)
        self.baseline = min(self.rows)
        self.questions = [str(at) for at in range(len(self.rows[self.baseline]))]
        self.best = max(fmean(row) for row in self.rows.values())
        self.space = Space(
            flow_of(names), {f"steps.point.{n}": Choice.of(v) for n, v in names.items()}
        )

    def regret(self, key: str) -> float:
        return self.best - fmean(self.rows[key])


def flow_of(names: Mapping[str, list[str]]) -> Flow:
    """A flow with a field for each dimension: a search asks whether configurations fit."""
    fields = dict.fromkeys(names, "")
    kind: Any = type(
        "Point",
        (Operator,),
        {
            "__annotations__": dict.fromkeys(fields, str), **fields,
            "writes": "answer", "run": lambda self, query: query, "__module__": __name__,
        },
    )  # fmt: skip
    return Flow(kind())


def ours(grid: Grid, budget: int, seed: int, **more: Any) -> str:
    """Racing over what Optuna proposes."""
    settings = Settings(budget=budget, seed=seed, block=BLOCK, **more)
    order = list(grid.questions)
    random.Random(seed).shuffle(order)
    blocks = [order[at : at + BLOCK] for at in range(0, len(order), BLOCK)]
    search, state = Search(settings, blocks, [], len(grid.space.dimensions)), State()

    def add(kind: str, data: dict[str, Any]) -> None:
        state.add([Entry(state.position + 1, kind, data)])

    while (plan := search.plan(state)).tasks:
        for task in plan.tasks:
            if task.kind == "propose":
                seen = {config_key(one.config) for one in state.trials.values()}
                found = propose(
                    grid.space, settings, known_of(state, plan.board), search.fresh(task.number),
                    wave=task.number, fits=new_configs(grid.space, seen, {}),
                )  # fmt: skip
                number = max(state.trials) + 1
                trials = [
                    {"number": number + at, "config": one.config, "origin": one.origin,
                     "attrs": one.attrs}
                    for at, one in enumerate(found)
                ]  # fmt: skip
                add("wave", {"number": task.number, "trials": trials, "texts": {}})
                continue
            row = grid.rows[key_of(grid, state, task.number)]
            values = {one: {"containment": row[int(one)]} for one in blocks[task.block]}
            data = {"kind": task.kind, "number": task.number, "block": task.block}
            add("result", {**data, "values": values})
    return key_of(grid, state, plan.front[0])


def row_of(config: Mapping[str, Any]) -> str:
    return config_key({name.removeprefix("steps.point."): v for name, v in config.items()})


def key_of(grid: Grid, state: State, trial: int) -> str:
    return grid.baseline if trial == BASELINE else row_of(state.trials[trial].config)


def plain(sampler: str, count: int) -> Callable[[Grid, int, int], str]:
    """As many configurations as there is budget for, each on so many questions."""

    def run(grid: Grid, budget: int, seed: int) -> str:
        settings = Settings(sampler=sampler, seed=seed)
        rng = random.Random(seed)
        chosen = rng.sample(range(len(grid.questions)), min(count, len(grid.questions)))
        known: list[Known] = []
        means: dict[str, float] = {}
        seen: set[str] = set()
        for at in range(budget // len(chosen)):
            found = propose(
                grid.space, settings, known, 1, wave=at,
                fits=new_configs(grid.space, seen, {}),
            )  # fmt: skip
            if not found:
                break
            key = row_of(found[0].config)
            means[key] = fmean(grid.rows[key][one] for one in chosen)
            known.append(Known(found[0].config, [means[key]]))
        return max(means, key=lambda key: means[key])

    return run


def made_up(seed: int, questions: int = 400) -> Grid:
    """216 configurations whose dimensions interact, and questions of all difficulties."""
    rng = random.Random(seed)
    names = {name: [f"{name}{at}" for at in range(count)] for name, count in
             (("a", 6), ("b", 6), ("c", 3), ("d", 2))}  # fmt: skip
    alone = {one: rng.gauss(0, 0.12) for options in names.values() for one in options}
    pairs = {
        (x, y): rng.gauss(0, 0.06) for x in names["a"] for y in names["b"]
    } | {(x, y): rng.gauss(0, 0.05) for x in names["b"] for y in names["c"]}  # fmt: skip
    hard = [rng.gauss(0.5, 0.3) for _ in range(questions)]
    rows = {}
    for point in itertools.product(*names.values()):
        skill = 0.5 + sum(alone[one] for one in point)
        skill += pairs[point[0], point[1]] + pairs[point[1], point[2]]
        key = config_key(dict(zip(names, point, strict=True)))
        rows[key] = [float(skill + rng.gauss(0, 0.15) > one) for one in hard]
    return Grid(names, rows)


def record(data: Path, out: Path, limit: int) -> None:
    """Measure every configuration of `PIPELINE` on a data set."""
    import tempfile

    from rag.eval.loading import load_dataset
    from rag.tune.evaluate import Evaluator
    from rag.tune.read import read_tuning

    dataset = load_dataset(data, limit=limit)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "pipeline.yaml"
        file.write_text(PIPELINE, encoding="utf-8")
        tuning = read_tuning(file)
        space, rows = tuning.space, {}
        configs = [one for one in space.grid() if space.problem(one) is None]
        queries = [one for one in dataset.queries if one.relevant]
        with Evaluator(dataset, tuning.settings, Path(scratch) / "study", tuning.flow) as evaluator:
            for number, config in enumerate(configs):
                make = lambda config=config: space.build(config)  # noqa: E731
                values = evaluator.measure(number, make, queries, str(number))
                rows[config_key(config)] = [values[one.id]["ndcg_at_10"] for one in queries]
                print(f"{number + 1} of {len(configs)}: {fmean(rows[config_key(config)]):.4f}")
    out.write_text(json.dumps({"rows": rows}), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--grid", type=Path)
    parser.add_argument("--budget", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.record is not None:
        record(given.data, given.record, given.limit)
        return
    ways: dict[str, Callable[[Grid, int, int], str]] = {
        "random, 100 questions each": plain("random", 100),
        "random, 30 questions each": plain("random", 30),
        "tpe, 100 questions each": plain("tpe", 100),
        "tpe, 30 questions each": plain("tpe", 30),
        "racing, random": lambda *a: ours(*a, sampler="random"),
        "racing, tpe": ours,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(given.seeds):
        grid = made_up(seed)
        for name, way in ways.items():
            found[name].append(grid.regret(way(grid, given.budget, seed)))
    for name, regrets in found.items():
        error = stdev(regrets) / len(regrets) ** 0.5
        print(f"{name:28} {fmean(regrets):.4f} ± {error:.4f}")


if __name__ == "__main__":
    main()
