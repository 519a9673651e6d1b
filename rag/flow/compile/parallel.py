"""Building branches that run at once, static or one per item, and their joins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from rag.errors import StepError
from rag.flow.compile.builder import Builder, Built
from rag.flow.constructs import Map, Parallel
from rag.flow.operator import Operator
from rag.flow.run.events import BranchFailed
from rag.flow.run.run import Run, Runner, State
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
    names, skip = list(branches), node.on_error == "skip"
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
        views = [(name, runner, dict(state)) for name, runner in zip(names, runners, strict=True)]
        ends = await at_once(here, views, run, waits, skip=skip)
        await join(state, run, ends)

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
    if node.on_error == "skip":
        what = "without a join a branch that is skipped would leave its channels unwritten"
        builder.report(node, here, what, "on_error", "add a join")
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
        views = [(name, runner, dict(state)) for name, runner in zip(wrote, runners, strict=True)]
        ends = await at_once(here, views, run, waits)
        for (_, end), names in zip(ends, leaving, strict=True):
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

    skip = node.on_error == "skip"

    async def run_map(state: State, run: Run) -> None:
        items = state[source]
        views = [
            (str(number), runner, {**state, target: value}) for number, value in enumerate(items)
        ]
        ends = await at_once(here, views, run, waits, limit, skip=skip, items=True)
        if join is not None:
            await join(state, run, ends)
            return
        for name in types:
            state[name] = [end[name] for _, end in ends]

    after = join.scope if join else scope.with_channels(channels)
    return Built(run_map, after, waits or (join is not None and join.suspends))


async def _failure(
    runner: Runner, state: State, run: Run, gate: AbstractAsyncContextManager[Any], place: str
) -> StepError | None:
    """Run a branch that may fail; a resumed run leaves out what it left out before."""
    journal, place = run.journal, f"{place}.failed"
    found = None if journal is None else journal.recall(place, _FAILED)
    if found is not None:
        return StepError(found["what"], where=found["where"])
    try:
        async with gate:
            await runner(state, run)
    except StepError as error:
        if journal is not None:
            journal.record(place, _FAILED, {"what": error.what, "where": error.where}, 0.0)
        return error
    return None


_FAILED: dict[str, Any] = {"what": str, "where": str | None}

Ends = list[tuple[str, State]]
"""Branch name to the state at its end, of those that ended well."""


@dataclass(frozen=True)
class Join:
    """Collects what branches wrote, runs the join operator, lets its writes leave."""

    runner: Runner
    collects: tuple[str, ...]
    as_dict: frozenset[str]
    leaves: tuple[str, ...]
    scope: Scope
    suspends: bool

    async def __call__(self, state: State, run: Run, ends: Ends) -> None:
        """Join the branches' ends, in their order, into `state`."""
        joined = dict(state)
        for channel in self.collects:
            named = {name: end[channel] for name, end in ends}
            joined[channel] = named if channel in self.as_dict else list(named.values())
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
    inner = scope.with_channels(collected).losing(partly)
    built = builder.build(operator, inner, f"{here}.join")
    wrote = built.scope.written_since(inner)
    private = {
        name: f"what branches of {here} write stays inside; its join writes {', '.join(wrote)}"
        for name in types
    }
    return Join(
        built.run,
        tuple(types),
        frozenset(as_dict),
        tuple(wrote),
        scope.with_channels(wrote).losing({**partly, **private}),
        built.suspends,
    )


async def at_once(
    here: str,
    views: list[tuple[str, Runner, State]],
    run: Run,
    waits: bool,
    limit: int | None = None,
    *,
    skip: bool = False,
    items: bool = False,
) -> Ends:
    """Run branches concurrently, each on its own state.

    Args:
        here: The path of the node.
        views: Each branch's name, runner and state.
        run: The run.
        waits: Whether any may wait; if none does, tasks would only cost.
        limit: At most so many at a time.
        skip: Leave out those that fail, unless all do; else the first failure cancels the rest.
        items: The branches run the same nodes, and differ by their item only.

    Returns:
        Names and states of the branches that ended well, in their order.
    """
    failures: dict[str, StepError] = {}
    gate = asyncio.Semaphore(limit) if limit and waits else contextlib.nullcontext()

    async def one(name: str, runner: Runner, state: State) -> None:
        view = run.at(f"{here}#{name}") if items else run
        if not skip:
            async with gate:
                await runner(state, view)
        elif failed := await _failure(runner, state, view, gate, f"{run.place}{here}#{name}"):
            failures[name] = failed
            if run.emit is not None:
                run.emit(BranchFailed(here, name, failed))

    if not waits:
        for view in views:
            await one(*view)
    else:
        try:
            async with asyncio.TaskGroup() as group:
                for view in views:
                    group.create_task(one(*view))
        except BaseExceptionGroup as found:
            raise found.exceptions[0] from found.exceptions[0].__cause__
    if views and len(failures) == len(views):
        raise next(iter(failures.values()))
    return [(name, state) for name, _, state in views if name not in failures]
