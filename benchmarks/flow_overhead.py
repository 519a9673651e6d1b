"""What a node costs, here and in other engines: graphs of nodes that do nothing.

    python benchmarks/flow_overhead.py [--peers PYTHON]

Ours runs in this interpreter; the others in PYTHON, an interpreter that has haystack-ai,
langgraph, langchain-core, llama-index-workflows and apache-hamilton (those missing are passed
over). Prints microseconds per node, the median of several runs, for a line of 1, 10 and 100
nodes, for 10 branches that join, and for a loop of 10 turns.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

SHAPES = ("line 1", "line 10", "line 100", "branch 10", "loop 10")
Runs = dict[str, tuple[int, Callable[[], Any]]]
"""Shape to its number of nodes and a call that runs it once."""


def flows() -> dict[str, tuple[int, Any]]:
    """Shape to its number of nodes and our flow of it."""
    from rag.flow import Flow, Loop, Parallel, Sequence, operator

    @operator(writes="x")
    def inc(x: int) -> int:
        return x + 1

    @operator(writes="x")
    def total(x: list[int]) -> int:
        return sum(x)

    made = {f"line {n}": (n, Sequence(*(inc() for _ in range(n)))) for n in (1, 10, 100)}
    branches = {f"b{n}": inc() for n in range(10)}
    shapes = {
        **made,
        "branch 10": (11, Parallel(branches, join=total())),
        "loop 10": (10, Loop(body=inc(), until="x >= 10", max_turns=20)),
    }
    return {name: (n, Flow(node, inputs={"x": int})) for name, (n, node) in shapes.items()}


def ours() -> Runs:
    """Called from synchronous code, nobody listening."""
    return {name: (n, lambda flow=flow: flow.invoke(x=0)) for name, (n, flow) in flows().items()}


def ours_with_events() -> Runs:
    """With every event read, event loop included."""

    async def consume(flow: Any) -> None:
        async for _ in flow.astream(x=0):
            pass

    return {
        name: (n, lambda flow=flow: asyncio.run(consume(flow)))
        for name, (n, flow) in flows().items()
    }


def lcel() -> Runs:
    from langchain_core.runnables import RunnableLambda, RunnableParallel

    step = RunnableLambda(lambda x: x + 1)
    runs: Runs = {"line 1": (1, lambda: step.invoke(0))}
    for n in (10, 100):
        line: Any = step
        for _ in range(n - 1):
            line = line | RunnableLambda(lambda x: x + 1)
        runs[f"line {n}"] = (n, lambda line=line: line.invoke(0))
    branches = {f"b{n}": RunnableLambda(lambda x: x + 1) for n in range(10)}
    branch = RunnableParallel(branches) | RunnableLambda(lambda found: sum(found.values()))
    runs["branch 10"] = (11, lambda: branch.invoke(0))
    return runs


def langgraph() -> Runs:
    import operator as op
    from typing import Annotated, TypedDict

    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        x: int
        seen: Annotated[list[int], op.add]

    def inc(state: State) -> dict[str, int]:
        return {"x": state["x"] + 1}

    start = {"x": 0, "seen": []}
    runs: Runs = {}
    for n in (1, 10, 100):
        graph = StateGraph(State)
        for at in range(n):
            graph.add_node(f"n{at}", inc)
            graph.add_edge(f"n{at - 1}" if at else START, f"n{at}")
        graph.add_edge(f"n{n - 1}", END)
        line = graph.compile()
        config = {"recursion_limit": n + 5}
        runs[f"line {n}"] = (n, lambda line=line, config=config: line.invoke(start, config))
    graph = StateGraph(State)
    graph.add_node("join", lambda state: {"x": sum(state["seen"])})
    for at in range(10):
        graph.add_node(f"b{at}", lambda state: {"seen": [state["x"] + 1]})
        graph.add_edge(START, f"b{at}")
    graph.add_edge([f"b{at}" for at in range(10)], "join")
    branch = graph.compile()
    runs["branch 10"] = (11, lambda: branch.invoke(start))
    graph = StateGraph(State)
    graph.add_node("inc", inc)
    graph.add_edge(START, "inc")
    graph.add_conditional_edges("inc", lambda state: END if state["x"] >= 10 else "inc")
    loop = graph.compile()
    runs["loop 10"] = (10, lambda: loop.invoke(start))
    return runs


def haystack() -> Runs:
    from haystack import Pipeline, component
    from haystack.core.component.types import Variadic

    @component
    class Inc:
        @component.output_types(x=int)
        def run(self, x: int) -> dict[str, int]:
            return {"x": x + 1}

    @component
    class Total:
        @component.output_types(x=int)
        def run(self, x: Variadic[int]) -> dict[str, int]:
            return {"x": sum(x)}

    runs: Runs = {}
    for n in (1, 10, 100):
        line = Pipeline()
        for at in range(n):
            line.add_component(f"n{at}", Inc())
            if at:
                line.connect(f"n{at - 1}.x", f"n{at}.x")
        runs[f"line {n}"] = (n, lambda line=line: line.run({"n0": {"x": 0}}))
    branch = Pipeline()
    branch.add_component("join", Total())
    for at in range(10):
        branch.add_component(f"b{at}", Inc())
        branch.connect(f"b{at}.x", "join.x")
    given = {f"b{at}": {"x": 0} for at in range(10)}
    runs["branch 10"] = (11, lambda: branch.run(given))
    return runs


def hamilton() -> Runs:
    from hamilton import ad_hoc_utils, driver

    runs: Runs = {}
    for n in (1, 10, 100):
        functions = []
        for at in range(n):
            before = f"n{at - 1}" if at else "x"
            scope: dict[str, Any] = {}
            exec(f"def n{at}({before}: int) -> int:\n    return {before} + 1\n", scope)  # noqa: S102
            functions.append(scope[f"n{at}"])
        module = ad_hoc_utils.create_temporary_module(*functions, module_name=f"line{n}")
        line = driver.Builder().with_modules(module).build()
        wanted = [f"n{n - 1}"]
        runs[f"line {n}"] = (
            n,
            lambda line=line, wanted=wanted: line.execute(wanted, inputs={"x": 0}),
        )
    return runs


def llama_index() -> Runs:
    from workflows import Workflow, step
    from workflows.events import Event, StartEvent, StopEvent

    runs: Runs = {}
    for n in (1, 10, 100):
        events = [type(f"E{at}", (Event,), {"__annotations__": {"x": int}}) for at in range(n - 1)]
        space: dict[str, Any] = {}
        for at in range(n):
            source = StartEvent if at == 0 else events[at - 1]
            target = StopEvent if at == n - 1 else events[at]

            def make(source: Any, target: Any, last: bool) -> Any:
                async def run(self: Any, ev: Any) -> Any:
                    value = ev.get("x", 0) + 1
                    return target(result=value) if last else target(x=value)

                run.__annotations__ = {"ev": source, "return": target}
                return run

            function = make(source, target, at == n - 1)
            function.__name__ = f"s{at}"
            function.__qualname__ = f"Line.s{at}"
            space[f"s{at}"] = step(function)
        flow = type(f"Line{n}", (Workflow,), space)(timeout=60)

        def run(flow: Any = flow) -> None:
            async def main() -> None:
                await flow.run(x=0)

            asyncio.run(main())

        runs[f"line {n}"] = (n, run)
    return runs


PEERS = {
    "Hamilton": hamilton,
    "Haystack": haystack,
    "LangChain LCEL": lcel,
    "LangGraph": langgraph,
    "LlamaIndex workflows": llama_index,
}


def measured(runs: Runs, rounds: int = 15) -> dict[str, float]:
    """Shape to microseconds per node, median of the rounds."""
    found = {}
    for shape, (nodes, run) in runs.items():
        run()
        times = []
        for _ in range(rounds):
            started = perf_counter()
            run()
            times.append((perf_counter() - started) / nodes * 1e6)
        found[shape] = statistics.median(times)
    return found


def peers() -> dict[str, dict[str, float]]:
    """All peers that this interpreter has."""
    table = {}
    for name, make in PEERS.items():
        try:
            table[name] = measured(make())
        except ImportError as error:
            print(f"{name} left out: {error}", file=sys.stderr)
    return table


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="an interpreter that has the other engines")
    parser.add_argument("--only-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_peers:
        print(json.dumps(peers()))
        return
    table = {
        "this engine": measured(ours()),
        "this engine, events read": measured(ours_with_events()),
    }
    if options.peers:
        command = [options.peers, __file__, "--only-peers"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        sys.stderr.write(done.stderr[-2000:] if done.returncode else "")
        table |= json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    print(f"{'us per node':26}" + "".join(f"{shape:>11}" for shape in SHAPES))
    for name, found in table.items():
        cells = (f"{found[shape]:11.1f}" if shape in found else f"{'-':>11}" for shape in SHAPES)
        print(f"{name:26}" + "".join(cells))


if __name__ == "__main__":
    main()
