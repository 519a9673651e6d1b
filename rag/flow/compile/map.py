"""Compiling maps: the same body for every item of a list."""

from __future__ import annotations

from typing import Any, get_args

from rag.errors import StepError
from rag.flow.compile.branches import Branch, run_branches
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.join import build_join
from rag.flow.constructs.map import Map
from rag.flow.place import ITEM, Place
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, show


def build_map(builder: Builder, node: Map, scope: Scope, place: Place) -> Built:
    """One branch per item, and the join, or lists of what the body writes."""
    over = builder.missing_channel(node, place, node.over, scope, "over")
    item: Any = Any
    if over is not None and not fits(over.type, list):
        what = f"{node.over!r} is {show(over.type)}, not a list"
        builder.report(node, place, what, "over", "map over a channel that holds a list")
    elif over is not None:
        item = (get_args(over.type) or (Any,))[0]
    inner = scope.after({node.as_: Channel(item, str(place))})
    body = builder.child(node, place, "", inner)
    waits = body.waits or body.heavy
    reads = (body.reads - {node.as_}) | {node.over}
    runner, source, target = body.run, node.over, node.as_
    skip, limit = node.on_error == "skip", node.concurrency

    async def run_items(state: State, run: Run) -> list[tuple[str, dict[str, Any]]]:
        items = state[source]
        if not isinstance(items, list | tuple):
            where = run.at(place)
            what = f"{source!r} is {type(items).__name__}, not a list"
            raise StepError(what, where=str(where), place=where)
        branches = [
            Branch(str(n), runner, {**state, target: value}, run.counted(place, ITEM, n))
            for n, value in enumerate(items)
        ]
        return await run_branches(place, branches, run, waits=waits, limit=limit, skip=skip)

    if node.join is not None:
        join = build_join(builder, node, place, scope, [body.writes])

        async def run_joined(state: State, run: Run) -> dict[str, Any]:
            return await join.run(state, run, await run_items(state, run))

        return Built(
            run_joined,
            join.built.writes,
            reads | join.reads,
            {**body.removed, **join.removed},
            waits=waits or join.built.waits,
            heavy=join.built.heavy,
        )
    names = list(body.writes)

    async def run_map(state: State, run: Run) -> dict[str, Any]:
        ends = await run_items(state, run)
        return {name: [wrote[name] for _, wrote in ends if name in wrote] for name in names}

    writes = {
        name: Channel(list[channel.type], str(place))  # type: ignore[name-defined]
        for name, channel in body.writes.items()
    }
    return Built(run_map, writes, reads, body.removed, waits=waits)
