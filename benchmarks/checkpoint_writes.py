"""What a stored run's writes cost as they grow in number: maps over 2,000 to 8,000 items.

    python benchmarks/checkpoint_writes.py [--items 2000 4000 8000] [--repeat 3] [--store URL]

Every item is a step whose write is stored before anything builds on it, in an SQLite file in a
temporary folder or in the store of `--store` (`postgresql://...`). Prints seconds, the fastest of
several runs, with the same map unstored beside it, and what a write costs at the greatest number
against what it costs at the first: 1.0 is linear.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from rag import Checkpoints, Flow, Map, operator


@operator(writes="y", light=True)
def increment(x: int) -> int:
    """Do next to nothing."""
    return x + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[2000, 4000, 8000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--store")
    given = parser.parse_args()
    flow = Flow(Map(over="xs", as_="x", body=increment()), inputs={"xs": list[int]})
    flow.invoke(xs=[1])
    each: list[float] = []
    print("items   stored  unstored  a write")
    for count in given.items:
        xs = list(range(count))
        stored = min(_stored(flow, xs, given.store) for _ in range(given.repeat))
        plain = min(_seconds(lambda xs=xs: flow.invoke(xs=xs)) for _ in range(given.repeat))
        each.append(stored / count)
        print(f"{count:5} {stored:6.2f} s {plain:7.2f} s {each[-1] * 1e6:5.0f} us")
    few, many = given.items[0], given.items[-1]
    print(f"a write at {many} items costs {each[-1] / each[0]:.2f} of what it costs at {few}")


def _stored(flow: Flow, xs: list[int], store: str | None) -> float:
    with (
        tempfile.TemporaryDirectory() as folder,
        Checkpoints(store or Path(folder) / "runs.sqlite") as checkpoints,
    ):
        run = checkpoints.start(flow, xs=xs)
        return _seconds(run.invoke)


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


if __name__ == "__main__":
    main()
