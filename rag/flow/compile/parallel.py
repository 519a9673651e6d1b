"""Compiling branches that run concurrently."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rag.errors import StepError
from rag.flow.compile.branches import Branch, run_branches
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.join import build_join
from rag.flow.compile.step import evaluate
from rag.flow.constructs.parallel import Parallel
from rag.flow.node import Sequence
from rag.flow.place import Place
from rag.flow.run.events import BranchSkipped
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, show
from rag.names import suggestion


def build_parallel(builder: Builder, node: Parallel, scope: Scope, place: Place) -> Built:
    """Branches on views of their own, and the join that makes one of many."""
    branches = builder.branches(node, place, node.branches, scope)
    waits = any(built.waits or built.heavy for built in branches.values())
    reads = frozenset().union(*(built.reads for built in branches.values()))
    removed = {n: w for built in branches.values() for n, w in built.removed.items()}
    runners = {name: built.run for name, built in branches.items()}
    skip, quorum = node.on_error == "skip", node.quorum
    everyone = not skip and quorum is None and node.select is None
    chosen, asked = _selection(builder, node, scope, place)
    reads |= asked

    async def run_all(state: State, run: Run) -> list[tuple[str, dict[str, Any]]]:
        names = chosen(state, run)
        views = [Branch(name, runners[name], state, run) for name in names]
        return await run_branches(place, views, run, waits=waits, skip=skip, quorum=quorum)

    if node.join is not None:
        branches = _with_unchanged(node, branches, scope)
        runners = {name: built.run for name, built in branches.items()}
        written = [built.writes for built in branches.values()]
        join = build_join(builder, node, place, scope, written)

        async def run_joined(state: State, run: Run) -> dict[str, Any]:
            return await join.run(state, run, await run_all(state, run))

        return Built(
            run_joined,
            join.built.writes,
            reads | join.reads,
            {**removed, **join.removed},
            waits=waits or join.built.waits,
            heavy=join.built.heavy,
        )

    writes = _union(builder, node, place, branches)
    if not everyone:
        why = f"a branch of {place} may be left out"
        writes = {name: channel.maybe(why) for name, channel in writes.items()}

    async def run_union(state: State, run: Run) -> dict[str, Any]:
        wrote: dict[str, Any] = {}
        for _, branch in await run_all(state, run):
            wrote.update(branch)
        return wrote

    return Built(run_union, writes, reads, removed, waits=waits)


def _with_unchanged(node: Parallel, branches: dict[str, Built], scope: Scope) -> dict[str, Built]:
    """The branches; an empty one gives what was there before of what the others write."""
    written = {name for built in branches.values() for name in built.writes}
    before = {n: c for n, c in scope.channels.items() if n in written and not c.optional}

    async def run_unchanged(state: State, run: Run) -> dict[str, Any]:
        return {name: state[name] for name in before}

    unchanged = Built(run_unchanged, before, frozenset(before))
    return {
        name: unchanged if node.branches[name] == Sequence() else built
        for name, built in branches.items()
    }


Chosen = Callable[[State, Run], Collection[str]]


def _selection(
    builder: Builder, node: Parallel, scope: Scope, place: Place
) -> tuple[Chosen, frozenset[str]]:
    """What gives the names of the branches that run, in their order; and what it reads."""
    everything = tuple(node.branches)
    if node.select is None:
        return (lambda state, run: everything), frozenset()
    expression = builder.expression(node, node.select, scope, place, "select")
    if expression is None:
        return (lambda state, run: everything), frozenset()
    channel = scope.channels.get(node.select.strip())
    wanted = list[str] | tuple[str, ...] | set[str] | frozenset[str]
    if channel is not None and not fits(channel.type, wanted):
        what = f"{node.select!r} is {show(channel.type)}, a list of branches' names is wanted"
        builder.report(node, place, what, "select", "for exactly one of several, use a Route")

    def chosen(state: State, run: Run) -> Collection[str]:
        names = evaluate(expression, state, run, place)
        wrong = [str(name) for name in names if name not in everything] if _listed(names) else None
        if wrong is None or wrong:
            what = f"{node.select!r} gives {names!r}, not a list of names"
            if wrong:
                what = f"no branch is called {wrong[0]!r}"
            fix = suggestion(wrong[0] if wrong else "", everything, label="there are")
            raise StepError(what, where=str(run.at(place)), fix=fix, place=run.at(place))
        for other in everything:
            if other not in names:
                run.notify(BranchSkipped, place, branch=other)
        return [name for name in everything if name in names]

    return chosen, expression.names


def _listed(names: Any) -> bool:
    return isinstance(names, list | tuple | set | frozenset)


def _union(
    builder: Builder, node: Parallel, place: Place, branches: dict[str, Built]
) -> dict[str, Channel]:
    """Without a join, everything that was written leaves, so nothing may clash."""
    channels: dict[str, Channel] = {}
    for branch, built in branches.items():
        for name in channels.keys() & built.writes.keys():
            what = f"the branch {branch!r} and {channels[name].writer} both write {name!r}"
            fix = "add a join, or give one another name with outputs:"
            builder.report(node, place, what, None, fix)
        channels.update(built.writes)
    return channels
