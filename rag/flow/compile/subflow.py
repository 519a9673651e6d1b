"""Building flows inside flows: another one as a step, or the same one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rag.flow.compile.builder import Builder, Built
from rag.flow.constructs import Recurse, SubFlow
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, show


def build_subflow(builder: Builder, node: SubFlow, scope: Scope, path: str) -> Built:
    """A flow with a state of its own, fed from and read into the outer one."""
    here = f"{path}.{node.name or node.flow.name or 'flow'}"
    inner = node.flow
    feeds = _feeds(builder, node, inner.inputs, scope, here)
    _known(builder, node, "output", node.outputs, inner.output_types, here)
    builder.interrupts |= {f"{here}/{stop}": kinds for stop, kinds in inner.interrupts.items()}
    leaves = {name: node.outputs.get(name, name) for name in inner.output_types}
    channels = {leaves[n]: Channel(kind, here) for n, kind in inner.output_types.items()}

    async def run_subflow(state: State, run: Run) -> None:
        given = {name: state[outer] for name, outer in feeds.items()}
        result = await inner.run_within(run.inside(here, inner.resources), given)
        for name, outer in leaves.items():
            state[outer] = result[name]

    return Built(run_subflow, scope.with_channels(channels), inner.suspends)


def build_recurse(builder: Builder, node: Recurse, scope: Scope, path: str) -> Built:
    """The flow that this node is a part of, once more; at the greatest depth the base instead."""
    here = f"{path}.{node.name or 'recurse'}"
    if builder.outputs is None:
        what = "a flow that calls itself must name its outputs"
        builder.report(node, here, what, None, "add outputs: [...] to the flow")
    outputs = builder.outputs or ()
    feeds = _feeds(builder, node, builder.inputs, scope, here)
    _known(builder, node, "output", node.outputs, dict.fromkeys(outputs), here)
    base = builder.build(node.base, scope, f"{here}.base")
    leaves = {name: node.outputs.get(name, name) for name in outputs}
    channels = {}
    for name, outer in leaves.items():
        channel = base.scope.channels.get(outer)
        if channel is None or channel.maybe:
            what = f"base does not write {outer!r}, which the flow gives"
            builder.report(node, here, what, name, "write it in base, or rename with outputs:")
            continue
        channels[outer] = Channel(channel.type, here)
        builder.promised.append((node, here, name, channel.type))
    optional = [name for name in builder.inputs if name not in feeds]

    async def run_recurse(state: State, run: Run) -> None:
        if run.depth >= node.max_depth:
            end = dict(state)
            await base.run(end, run)
            state.update({outer: end[outer] for outer in leaves.values()})
            return
        inner: State = {name: state[outer] for name, outer in feeds.items()}
        inner.update(dict.fromkeys(optional))
        assert builder.whole is not None  # noqa: S101 - set before anything runs
        depth = run.depth + 1
        await builder.whole(inner, replace(run, place=f"{run.place}{here}^{depth}/", depth=depth))
        for name, outer in leaves.items():
            state[outer] = inner[name]

    return Built(run_recurse, scope.with_channels(channels), suspends=True)


def _feeds(
    builder: Builder,
    node: SubFlow | Recurse,
    inputs: Mapping[str, Any],
    scope: Scope,
    here: str,
) -> dict[str, str]:
    """Input of the inner flow to the outer channel that feeds it."""
    feeds: dict[str, str] = {}
    for name, kind in inputs.items():
        outer = node.inputs.get(name, name)
        channel = scope.channels.get(outer)
        if channel is None:
            if not fits(type(None), kind):
                near = scope.nearest(outer)
                fix = f"did you mean {near!r}?" if near else f"rename with inputs: {{{name}: ...}}"
                builder.report(node, here, f"nothing upstream writes {outer!r}", name, fix)
            continue
        if channel.maybe:
            what = f"{outer!r} is there from the loop's second turn only"
            builder.report(node, here, what, name, f"write {outer!r} before the loop")
        if not fits(channel.type, kind):
            what = f"{outer!r} is {show(channel.type)}, {show(kind)} is wanted"
            builder.report(node, here, what, name, "convert it in a step between")
        feeds[name] = outer
    _known(builder, node, "input", node.inputs, inputs, here)
    return feeds


def _known(
    builder: Builder,
    node: SubFlow | Recurse,
    what: str,
    given: Mapping[str, str],
    known: Mapping[str, Any],
    here: str,
) -> None:
    for wrong in given.keys() - known.keys():
        fix = f"it has: {', '.join(known)}"
        builder.report(node, here, f"the inner flow has no {what} {wrong!r}", None, fix)
