"""What a node costs, here and in other engines: graphs of nodes that do nothing.

    python benchmarks/flow_overhead.py [--peers PYTHON]

Ours runs in this interpreter; the others in PYTHON, an interpreter that has haystack-ai,
langgraph, langchain-core, llama-index-workflows and apache-hamilton (those missing are passed
over). Prints microseconds per node, the median of several runs, for lines of 1, 10 and 100
nodes, for as many branches that join, and for loops of as many turns; then what only ours is
asked: whether a line stays linear up to 1,000 nodes, how long 8 branches of 10 ms take, and how
long a flow of 100 nodes takes to build and check.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from flow_peers import SIZES, Runs, measured

SHAPES = tuple(f"{shape} {n}" for shape in ("line", "branch", "loop") for n in SIZES)


def flows() -> dict[str, tuple[int, Any]]:
    """Shape to its number of nodes and our flow of it."""
    from rag.flow import Flow, Loop, Parallel, Sequence, operator

    @operator(writes="x", light=True)
    def inc(x: int) -> int:
        return x + 1

    @operator(writes="x", light=True)
    def total(x: list[int]) -> int:
        return sum(x)

    shapes: dict[str, tuple[int, Any]] = {}
    for n in SIZES:
        branches = {f"b{at}": inc() for at in range(n)}
        shapes[f"line {n}"] = (n, Sequence(*(inc() for _ in range(n))))
        shapes[f"branch {n}"] = (n + 1, Parallel(branches, join=total()))
        shapes[f"loop {n}"] = (n, Loop(body=inc(), until=f"x >= {n}", max_turns=2 * n))
    return {name: (n, Flow(node, inputs={"x": int})) for name, (n, node) in shapes.items()}


def ours() -> Runs:
    """Called from synchronous code, nobody listening."""
    return {name: (n, lambda flow=flow: flow.invoke(x=0)) for name, (n, flow) in flows().items()}


def ours_with_events() -> Runs:
    """With every event read, in an event loop that is there."""
    loop = asyncio.Runner()

    async def consume(flow: Any) -> None:
        async for _ in flow.astream(x=0):
            pass

    return {
        name: (n, lambda flow=flow: loop.run(consume(flow))) for name, (n, flow) in flows().items()
    }


def only_ours() -> None:
    """Print what the others are not asked."""
    from rag.flow import Flow, Parallel, Sequence, operator

    @operator(writes="x", light=True)
    def inc(x: int) -> int:
        return x + 1

    @operator(writes="x")
    async def nap(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    @operator(writes="x")
    def block(x: int) -> int:
        sleep(0.01)
        return x

    @operator(writes="x", light=True)
    def total(x: list[int]) -> int:
        return sum(x)

    def median(run: Callable[[], Any], rounds: int = 21) -> float:
        times = []
        for _ in range(rounds):
            started = perf_counter()
            run()
            times.append(perf_counter() - started)
        return statistics.median(times)

    for n in (10, 100, 1000):
        flow = Flow(Sequence(*(inc() for _ in range(n))), inputs={"x": int})
        each = median(lambda flow=flow: flow.invoke(x=0)) / n * 1e6
        print(f"a line of {n:4} nodes: {each:.2f} us per node")
    for name, step in (("waiting", nap), ("blocking", block)):
        branches = {f"b{at}": step() for at in range(8)}
        flow = Flow(Parallel(branches, join=total()), inputs={"x": int})
        each = median(lambda flow=flow: flow.invoke(x=0)) * 1000
        print(f"8 branches of 10 ms, {name}: {each:.1f} ms")

    @operator(writes="x", light=True)
    def add(x: int, *, step: int = 1) -> int:
        return x + step

    flow = Flow(Sequence(*(add() for _ in range(10))), inputs={"x": int})
    plain = median(lambda: flow.invoke(x=0), 201) * 1e6
    given = median(lambda: flow.invoke(x=0, config={"add:3": {"step": 2}}), 201) * 1e6
    print(f"another value for a field of one step in one call: {given - plain:.1f} us")
    nodes = [inc() for _ in range(100)]
    built = median(lambda: Flow(Sequence(*nodes), inputs={"x": int})) * 1000
    print(f"build and check of 100 nodes: {built:.2f} ms")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="an interpreter that has the other engines")
    options = parser.parse_args()
    table = {
        "this engine": measured(ours()),
        "this engine, events read": measured(ours_with_events()),
    }
    if options.peers:
        command = [options.peers, str(Path(__file__).with_name("flow_peers.py"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        sys.stderr.write(done.stderr[-2000:] if done.returncode else "")
        table |= json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    print(f"{'us per node':26}" + "".join(f"{shape:>11}" for shape in SHAPES))
    for name, found in table.items():
        cells = (f"{found[shape]:11.1f}" if shape in found else f"{'-':>11}" for shape in SHAPES)
        print(f"{name:26}" + "".join(cells))
    print()
    only_ours()


if __name__ == "__main__":
    main()
