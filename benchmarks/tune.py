"""How near a search comes to the best configuration, at equal budget, on a recorded grid.

    python benchmarks/tune.py --record grid.json --data FOLDER   # once
    python benchmarks/tune.py --grid grid.json --budget 1500

    python benchmarks/tune.py --budget 1500                      # on grids that are made up

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
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from rag.eval.loading import load_dataset
from rag.flow import Flow, Operator
from rag.tune.dimensions import Choice, Config
from rag.tune.evaluate import Evaluator
from rag.tune.journal import Entry
from rag.tune.propose import Known, known_of, new_configs, propose
from rag.tune.read import Tuning, read_tuning
from rag.tune.search import Search
from rag.tune.settings import Settings
from rag.tune.space import Space, config_key
from rag.tune.state import State

BLOCK = 8
Way = Callable[["Grid", int, int], Config]
"""From a grid, a budget and a seed to the configuration that is chosen."""
PIPELINE = """
resources: {index: ./index, embedder: all-minilm-l6-v2}
steps:
  - parallel: {sparse: {use: bm25, k: 30}, dense: {use: dense, k: 30}}
    join: {use: rrf}
tune:
  maximise: ndcg_at_10
  space:
    steps.parallel:
      choose:
        sparse: {use: bm25}
        dense: {use: dense}
        rrf: {parallel: {sparse: {use: bm25}, dense: {use: dense}}, join: {use: rrf}}
        weighted:
          parallel: {sparse: {use: bm25}, dense: {use: dense}}
          join: {use: weighted_sum}
    steps.bm25.k: {choose: [10, 30, 100], when: {steps.parallel: [sparse, rrf, weighted]}}
    steps.dense.k: {choose: [10, 30, 100], when: {steps.parallel: [dense, rrf, weighted]}}
    steps.rrf.c: {choose: [5, 20, 60, 200], when: {steps.parallel: rrf}}
    steps.weighted_sum.weights:
      choose: {even: {}, words: {sparse: 2}, meaning: {dense: 2}, more: {dense: 4}}
      when: {steps.parallel: weighted}
"""


class Grid:
    """Every configuration's values.

    Args:
        space: The configurations.
        rows: Configuration (`config_key`) to a value for each question.
        baseline: Those of the pipeline as it is written.
    """

    def __init__(
        self, space: Space, rows: Mapping[str, list[float]], baseline: list[float]
    ) -> None:
        self.space, self.rows, self.baseline = space, dict(rows), baseline
        self.questions = [str(at) for at in range(len(baseline))]
        self.best = max(fmean(row) for row in [baseline, *self.rows.values()])

    def row(self, config: Mapping[str, Any]) -> list[float]:
        """The values of a configuration; an empty one is the baseline."""
        return self.rows[config_key(config)] if config else self.baseline

    def regret(self, config: Mapping[str, Any]) -> float:
        """How much better the best one is."""
        return self.best - fmean(self.row(config))


def flow_of(names: Mapping[str, list[str]]) -> Flow:
    """A flow with a field for each dimension: a search asks whether configurations fit."""
    kind: Any = type(
        "Point",
        (Operator,),
        {
            "__annotations__": dict.fromkeys(names, str), **dict.fromkeys(names, ""),
            "writes": "answer", "run": lambda self, query: query, "__module__": __name__,
        },
    )  # fmt: skip
    return Flow(kind())


def recorded(file: Path) -> Grid:
    """A grid that `--record` wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        space = written(Path(scratch)).space
    return Grid(space, found["rows"], found["baseline"])


def written(folder: Path) -> Tuning:
    """The space of `PIPELINE`."""
    file = folder / "pipeline.yaml"
    file.write_text(PIPELINE, encoding="utf-8")
    return read_tuning(file)


def ours(grid: Grid, budget: int, seed: int, **more: Any) -> Config:
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
            row = grid.row(state.trials[task.number].config)
            values = {one: {"containment": row[int(one)]} for one in blocks[task.block]}
            data = {"kind": task.kind, "number": task.number, "block": task.block}
            add("result", {**data, "values": values})
    return state.trials[plan.front[0]].config


def plain(sampler: Literal["random", "tpe"], count: int) -> Way:
    """As many configurations as there is budget for, each on so many questions."""

    def run(grid: Grid, budget: int, seed: int) -> Config:
        settings = Settings(sampler=sampler, seed=seed)
        rng = random.Random(seed)
        chosen = rng.sample(range(len(grid.questions)), min(count, len(grid.questions)))
        known: list[Known] = []
        seen: set[str] = set()
        for at in range(budget // len(chosen)):
            found = propose(
                grid.space, settings, known, 1, wave=at, fits=new_configs(grid.space, seen, {})
            )
            if not found:
                break
            row = grid.row(found[0].config)
            known.append(Known(found[0].config, [fmean(row[one] for one in chosen)]))
        return max(known, key=lambda one: one.worths[0]).config

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
        config = {f"steps.point.{name}": one for name, one in zip(names, point, strict=True)}
        rows[config_key(config)] = [float(skill + rng.gauss(0, 0.15) > one) for one in hard]
    space = Space(flow_of(names), {f"steps.point.{n}": Choice.of(own) for n, own in names.items()})
    return Grid(space, rows, next(iter(rows.values())))


def record(data: Path, out: Path, limit: int, kept: Path | None) -> None:
    """Measure every configuration of `PIPELINE` on a data set; `kept` gets the index."""
    dataset = load_dataset(data, limit=limit)
    with tempfile.TemporaryDirectory() as scratch:
        tuning = written(Path(scratch))
        space, rows = tuning.space, {}
        configs = [{}, *(one for one in space.grid() if space.problem(one) is None)]
        queries = [one for one in dataset.queries if one.relevant]
        folder = kept or Path(scratch) / "study"
        with Evaluator(dataset, tuning.settings, folder, tuning.flow) as evaluator:
            for number, config in enumerate(configs):
                flow = space.build(config) if config else tuning.flow
                values, _ = evaluator.measure(number, lambda flow=flow: flow, queries, str(number))
                row = [values[one.id]["ndcg_at_10"] for one in queries]
                rows[config_key(config)] = row
                print(f"{number + 1} of {len(configs)}: {fmean(row):.4f} {config}", flush=True)
    baseline = rows.pop(config_key({}))
    out.write_text(json.dumps({"rows": rows, "baseline": baseline}), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--study", type=Path, help="folder that keeps the index")
    parser.add_argument("--grid", type=Path)
    parser.add_argument("--budget", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.record is not None:
        record(given.data, given.record, given.limit, given.study)
        return
    ways: dict[str, Way] = {
        "random, 100 questions each": plain("random", 100),
        "random, 30 questions each": plain("random", 30),
        "tpe, 100 questions each": plain("tpe", 100),
        "tpe, 30 questions each": plain("tpe", 30),
        "racing, random": lambda *a: ours(*a, sampler="random"),
        "racing, tpe": ours,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(given.seeds):
        grid = made_up(seed) if given.grid is None else recorded(given.grid)
        for name, way in ways.items():
            found[name].append(grid.regret(way(grid, given.budget, seed)))
    for name, regrets in found.items():
        error = stdev(regrets) / len(regrets) ** 0.5
        print(f"{name:28} {fmean(regrets):.4f} ± {error:.4f}")


if __name__ == "__main__":
    main()
