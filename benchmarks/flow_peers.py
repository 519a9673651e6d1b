"""The graphs of `flow_overhead.py` in other engines; prints their times as JSON.

Needs nothing of this project, since it runs in the interpreter that has the other engines.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

SIZES = (1, 10, 100)
Runs = dict[str, tuple[int, Callable[[], Any]]]
"""Shape to its number of nodes and a call that runs it once."""


def lcel() -> Runs:
    from langchain_core.runnables import RunnableLambda, RunnableParallel

    step = RunnableLambda(lambda x: x + 1)
    runs: Runs = {"line 1": (1, lambda: step.invoke(0))}
    for n in (10, 100):
        line: Any = step
        for _ in range(n - 1):
            line = line | RunnableLambda(lambda x: x + 1)
        runs[f"line {n}"] = (n, lambda line=line: line.invoke(0))
    for n in SIZES:
        branches = {f"b{at}": RunnableLambda(lambda x: x + 1) for at in range(n)}
        branch = RunnableParallel(branches) | RunnableLambda(lambda found: sum(found.values()))
        runs[f"branch {n}"] = (n + 1, lambda branch=branch: branch.invoke(0))
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
    for n in SIZES:
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
        for at in range(n):
            graph.add_node(f"b{at}", lambda state: {"seen": [state["x"] + 1]})
            graph.add_edge(START, f"b{at}")
        graph.add_edge([f"b{at}" for at in range(n)], "join")
        branch = graph.compile()
        runs[f"branch {n}"] = (n + 1, lambda branch=branch: branch.invoke(start))
        graph = StateGraph(State)
        graph.add_node("inc", inc)
        graph.add_edge(START, "inc")
        graph.add_conditional_edges("inc", lambda state, n=n: END if state["x"] >= n else "inc")
        loop = graph.compile()
        runs[f"loop {n}"] = (n, lambda loop=loop, config=config: loop.invoke(start, config))
    return runs


def haystack() -> Runs:
    from haystack import Pipeline, component
    from haystack.core.component.types import GreedyVariadic, Variadic

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

    @component
    class Again:
        """Sends a number round once more, or out."""

        def __init__(self, turns: int) -> None:
            self.turns = turns

        @component.output_types(again=int, out=int)
        def run(self, x: int) -> dict[str, int]:
            return {"out": x} if x >= self.turns else {"again": x}

    @component
    class Turn:
        @component.output_types(x=int)
        def run(self, x: GreedyVariadic[int]) -> dict[str, int]:
            return {"x": next(iter(x)) + 1}

    runs: Runs = {}
    for n in SIZES:
        line = Pipeline()
        for at in range(n):
            line.add_component(f"n{at}", Inc())
            if at:
                line.connect(f"n{at - 1}.x", f"n{at}.x")
        runs[f"line {n}"] = (n, lambda line=line: line.run({"n0": {"x": 0}}))
        branch = Pipeline()
        branch.add_component("join", Total())
        for at in range(n):
            branch.add_component(f"b{at}", Inc())
            branch.connect(f"b{at}.x", "join.x")
        given = {f"b{at}": {"x": 0} for at in range(n)}
        runs[f"branch {n}"] = (
            n + 1,
            lambda branch=branch, given=given: branch.run({k: dict(v) for k, v in given.items()}),
        )
        loop = Pipeline(max_runs_per_component=n + 1)
        loop.add_component("turn", Turn())
        loop.add_component("again", Again(n))
        loop.connect("turn.x", "again.x")
        loop.connect("again.again", "turn.x")
        # A turn is two components here: the count of nodes is what they are.
        runs[f"loop {n}"] = (2 * n, lambda loop=loop: loop.run({"turn": {"x": 0}}))
    return runs


def hamilton() -> Runs:
    from hamilton import ad_hoc_utils, driver

    def function(name: str, reads: list[str], body: str) -> Any:
        scope: dict[str, Any] = {}
        parameters = ", ".join(f"{name}: int" for name in reads)
        exec(f"def {name}({parameters}) -> int:\n    return {body}\n", scope)  # noqa: S102
        return scope[name]

    runs: Runs = {}
    for n in SIZES:
        names = ["x", *(f"n{at}" for at in range(n))]
        line = [function(names[at + 1], [names[at]], f"{names[at]} + 1") for at in range(n)]
        branches = [f"b{at}" for at in range(n)]
        branch = [function(name, ["x"], "x + 1") for name in branches]
        branch.append(function("total", branches, " + ".join(branches)))
        for shape, functions, nodes, wanted in (
            (f"line {n}", line, n, names[-1]),
            (f"branch {n}", branch, n + 1, "total"),
        ):
            module = ad_hoc_utils.create_temporary_module(
                *functions, module_name=shape.replace(" ", "")
            )
            built = driver.Builder().with_modules(module).build()
            runs[shape] = (
                nodes,
                lambda built=built, wanted=wanted: built.execute([wanted], inputs={"x": 0}),
            )
    return runs


def llama_index() -> Runs:  # noqa: C901 - its steps must be nested classes
    from workflows import Context, Workflow, step
    from workflows.events import Event, StartEvent, StopEvent

    def runner(kind: Any) -> Callable[[], None]:
        flow = kind(timeout=60)

        def run() -> None:
            async def main() -> None:
                await flow.run(x=0)

            asyncio.run(main())

        return run

    class Work(Event):
        x: int

    class Part(Event):
        x: int

    runs: Runs = {}
    for n in SIZES:
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
        runs[f"line {n}"] = (n, runner(type(f"Line{n}", (Workflow,), space)))

        def fan_of(n: int) -> Any:
            class Fan(Workflow):
                @step
                async def send(self, ctx: Context, ev: StartEvent) -> Work | None:
                    for _ in range(n):
                        ctx.send_event(Work(x=0))
                    return None

                @step
                async def inc(self, ev: Work) -> Part:
                    return Part(x=ev.x + 1)

                @step
                async def total(self, ctx: Context, ev: Part) -> StopEvent | None:
                    parts = ctx.collect_events(ev, [Part] * n)
                    return None if parts is None else StopEvent(result=sum(p.x for p in parts))

            return Fan

        def loop_of(n: int) -> Any:
            class Turns(Workflow):
                @step
                async def begin(self, ev: StartEvent) -> Work:
                    return Work(x=0)

                @step
                async def inc(self, ev: Work) -> Work | StopEvent:
                    return StopEvent(result=ev.x) if ev.x + 1 >= n else Work(x=ev.x + 1)

            return Turns

        runs[f"branch {n}"] = (n + 1, runner(fan_of(n)))
        runs[f"loop {n}"] = (n, runner(loop_of(n)))
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
        except Exception as error:  # noqa: BLE001 - the others are still worth a row
            print(f"{name} left out: {error}", file=sys.stderr)
    return table


if __name__ == "__main__":
    print(json.dumps(peers()))
