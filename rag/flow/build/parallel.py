"""Building branches that run at once, static or one per item, and their joins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from rag.flow.build.builder import Builder, Built
from rag.flow.constructs import Map, Parallel
from rag.flow.operator import Operator
from rag.flow.run import Run, Runner, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, merge, show


def build_parallel(builder: Builder, node: Parallel, scope: Scope, path: str) -> Built:
    """Branches on views of their own, and the join that makes one of many."""
    here = f"{path}.{node.name or 'parallel'}"
    branches = {
        name: builder.build(branch, scope, f"{here}.{name}")
        for name, branch in node.branches.items()
    }
    wrote = {name: built.scope.written_since(scope) for name, built in branches.items()}
    runners = [built.run for built in branches.values()]
    waits = any(built.suspends for built in branches.values())
    names = list(branches)
    if node.join is None:
        return _union(builder, node, scope, here, runners, wrote, waits)
    shared = set.intersection(*(set(w) for w in wrote.values()))
    partly = {
        name: f"the branch {', '.join(b for b in wrote if name not in wrote[b])} of {here} "
        "does not write it"
        for name in sorted({n for w in wrote.values() for n in w} - shared)
    }
    types = {name: merge(w[name].type for w in wrote.values()) for name in sorted(shared)}
    join = _join(builder, node.join, scope, here, types, partly)

    async def run_parallel(state: State, run: Run) -> None:
        ends = await at_once([(runner, dict(state)) for runner in runners], run, waits)
        await join(state, run, ends, names)

    return Built(run_parallel, join.scope, waits or join.suspends)


def _union(
    builder: Builder,
    node: Parallel,
    scope: Scope,
    here: str,
    runners: list[Runner],
    wrote: Mapping[str, Mapping[str, Channel]],
    waits: bool,
) -> Built:
    """Without a join, everything that was written leaves, so nothing may clash."""
    channels: dict[str, Channel] = {}
    for branch, written in wrote.items():
        for name in channels.keys() & written.keys():
            builder.report(
                node,
                here,
                f"the branch {branch!r} and {channels[name].writer} both write {name!r}",
                None,
                "add a join, or give one another name with outputs:",
            )
        channels.update(written)
    leaving = [list(written) for written in wrote.values()]

    async def run_union(state: State, run: Run) -> None:
        ends = await at_once([(runner, dict(state)) for runner in runners], run, waits)
        for end, names in zip(ends, leaving, strict=True):
            for name in names:
                if name in end:
                    state[name] = end[name]

    return Built(run_union, scope.with_channels(channels), waits)


def build_map(builder: Builder, node: Map, scope: Scope, path: str) -> Built:
    """One branch per item, and the join, or lists of what the body writes."""
    here = f"{path}.{node.name or 'map'}"
    over = scope.channels.get(node.over)
    item: Any = Any
    if over is None:
        near = scope.nearest(node.over)
        fix = f"did you mean {near!r}?" if near else f"there are: {', '.join(scope.channels)}"
        builder.report(node, here, f"nothing upstream writes {node.over!r}", "over", fix)
    elif not fits(over.type, list):
        what = f"{node.over!r} is {show(over.type)}, not a list"
        builder.report(node, here, what, "over", "map over a channel that holds a list")
    else:
        item = (get_args(over.type) or (Any,))[0]
    inner = scope.with_channels({node.as_: Channel(item, here)})
    body = builder.build(node.body, inner, f"{here}.body")
    types = {n: c.type for n, c in sorted(body.scope.written_since(inner).items())}
    join = _join(builder, node.join, scope, here, types, {}) if node.join else None
    channels = {name: Channel(list[kind], here) for name, kind in types.items()}  # type: ignore[valid-type]
    source, target, limit, runner, waits = (
        node.over,
        node.as_,
        node.concurrency,
        body.run,
        body.suspends,
    )

    async def run_map(state: State, run: Run) -> None:
        items = state[source]
        views = [(runner, {**state, target: value}) for value in items]
        ends = await at_once(views, run, waits, limit)
        if join is not None:
            await join(state, run, ends, [str(i) for i in range(len(ends))])
            return
        for name in types:
            state[name] = [end[name] for end in ends]

    after = join.scope if join else scope.with_channels(channels)
    return Built(run_map, after, waits or (join is not None and join.suspends))


@dataclass(frozen=True)
class Join:
    """Collects what branches wrote, runs the join operator, lets its writes leave."""

    runner: Runner
    collects: tuple[str, ...]
    as_dict: frozenset[str]
    leaves: tuple[str, ...]
    scope: Scope
    suspends: bool

    async def __call__(self, state: State, run: Run, ends: list[State], names: list[str]) -> None:
        """Join the branches' ends, in the order of `names`, into `state`."""
        joined = dict(state)
        for channel in self.collects:
            values = [end[channel] for end in ends]
            joined[channel] = (
                dict(zip(names, values, strict=True)) if channel in self.as_dict else values
            )
        await self.runner(joined, run)
        for channel in self.leaves:
            state[channel] = joined[channel]


def _join(
    builder: Builder,
    operator: Operator,
    scope: Scope,
    here: str,
    types: Mapping[str, Any],
    partly: Mapping[str, str],
) -> Join:
    """Compile a join: the channels that all branches write arrive collected."""
    reads = {port.name: port.type for port in operator.signature().reads}
    by_channel = {operator.inputs.get(name, name): kind for name, kind in reads.items()}
    as_dict = {
        n for n in types if get_origin(by_channel.get(n)) is dict or by_channel.get(n) is dict
    }
    collected = {
        name: Channel(dict[str, kind] if name in as_dict else list[kind], here)  # type: ignore[valid-type]
        for name, kind in types.items()
    }
    inner = scope.with_channels(collected).losing(partly, "")
    inner = Scope(
        inner.channels,
        {**inner.gone, **{n: w for n, w in partly.items() if n not in scope.channels}},
    )
    built = builder.build(operator, inner, f"{here}.join")
    wrote = built.scope.written_since(inner)
    private = {
        name: f"what branches of {here} write stays inside; its join writes {', '.join(wrote)}"
        for name in types
    }
    after = scope.with_channels(wrote)
    lost = {n: w for n, w in {**partly, **private}.items() if n not in after.channels}
    return Join(
        built.run,
        tuple(types),
        frozenset(as_dict),
        tuple(wrote),
        Scope(after.channels, {**after.gone, **lost}),
        built.suspends,
    )


async def at_once(
    views: list[tuple[Runner, State]], run: Run, waits: bool, limit: int | None = None
) -> list[State]:
    """Run branches concurrently, each on its own state; the first failure cancels the others."""
    if not waits:  # nothing in them can overlap: tasks would only cost
        for runner, state in views:
            await runner(state, run)
        return [state for _, state in views]
    gate = asyncio.Semaphore(limit) if limit else None

    async def one(runner: Runner, state: State) -> None:
        if gate is None:
            await runner(state, run)
        else:
            async with gate:
                await runner(state, run)

    try:
        async with asyncio.TaskGroup() as group:
            for runner, state in views:
                group.create_task(one(runner, state))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    return [state for _, state in views]
