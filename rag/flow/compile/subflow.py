"""Compiling flows inside flows: another one as a step, or the same one again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.flow.compile.budget import within_budget
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.constructs.recurse import Recurse
from rag.flow.constructs.subflow import SubFlow
from rag.flow.place import Place
from rag.flow.run.run import Run, State
from rag.flow.run.tracing import traced_run
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, show
from rag.names import suggestion


def build_subflow(builder: Builder, node: SubFlow, scope: Scope, place: Place) -> Built:
    """A flow with a state of its own, fed from and read into the outer one."""
    inner = node.flow
    feeds = _feeds(builder, node, inner.inputs, inner.defaults, scope, place)
    _known(builder, node, "output", node.outputs, inner.output_types, place)
    _, built = builder.inner(inner, place)
    leaves = {name: node.outputs.get(name, name) for name in inner.output_types}
    writes = {leaves[n]: Channel(kind, str(place)) for n, kind in inner.output_types.items()}
    given, budget, resources = inner.defaults, inner.budget, inner.resources
    runner = built.run if budget is None else within_budget(built.run, place, budget)

    async def run_subflow(state: State, run: Run) -> dict[str, Any]:
        begin = {**given, **{name: state[outer] for name, outer in feeds.items()}}
        view = run
        if resources.specs or run.depth:
            view = run.view(resources=resources.within(run.resources), depth=0)
        if inner.tracer is None:
            end = {**begin, **await runner(begin, view)}
        else:
            traced = view.view(tracer=inner.tracer)
            end = {**begin, **await traced_run(inner, begin, lambda: runner(begin, traced))}
        return {outer: end[name] for name, outer in leaves.items()}

    timed = budget is not None and budget.seconds is not None
    return Built(
        run_subflow,
        writes,
        frozenset(feeds.values()),
        waits=built.waits or timed,
        heavy=built.heavy,
    )


def build_recurse(builder: Builder, node: Recurse, scope: Scope, place: Place) -> Built:
    """The flow that this node is a part of, once more; at the greatest depth the base instead."""
    if builder.outputs is None:
        what = "a flow that calls itself must name its outputs"
        builder.report(node, place, what, None, "add outputs: [...] to the flow")
    outputs = builder.outputs or ()
    feeds = _feeds(builder, node, builder.inputs, builder.defaults, scope, place)
    _known(builder, node, "output", node.outputs, dict.fromkeys(outputs), place)
    base = builder.child(node, place, ".base", scope)
    end = base.after(scope)
    leaves = {name: node.outputs.get(name, name) for name in outputs}
    writes = {}
    for name, outer in leaves.items():
        channel = end.channels.get(outer)
        if channel is None or channel.optional:
            what = f"base does not write {outer!r}, which the flow gives"
            builder.report(node, place, what, name, "write it in base, or rename with outputs:")
            continue
        writes[outer] = Channel(channel.type, str(place))
        builder.promised.append((node, place, name, channel.type))
    given = builder.defaults

    async def run_recurse(state: State, run: Run) -> dict[str, Any]:
        if run.depth >= node.max_depth:
            last = {**state, **await base.run(state, run)}
            return {outer: last[outer] for outer in leaves.values()}
        begin = {**given, **{name: state[outer] for name, outer in feeds.items()}}
        assert builder.whole is not None  # noqa: S101 - set before anything runs
        last = {**begin, **await builder.whole(begin, run.deeper(place))}
        return {outer: last[name] for name, outer in leaves.items()}

    return Built(run_recurse, writes, base.reads | set(feeds.values()), waits=True)


def _feeds(
    builder: Builder,
    node: SubFlow | Recurse,
    inputs: Mapping[str, Any],
    defaults: Mapping[str, Any],
    scope: Scope,
    place: Place,
) -> dict[str, str]:
    """Input of the inner flow to the outer channel that feeds it."""
    feeds: dict[str, str] = {}
    for name, kind in inputs.items():
        outer = node.inputs.get(name, name)
        channel = scope.channels.get(outer)
        if channel is None:
            if name not in defaults or name in node.inputs:
                what = f"nothing upstream writes {outer!r}"
                fix = f"{scope.suggestion(outer)}; rename with inputs: {{{name}: ...}}"
                builder.report(node, place, what, name, fix)
            continue
        if channel.optional:
            if name in defaults and name not in node.inputs:
                continue
            what = f"{outer!r} may be missing: {channel.optional}"
            builder.report(node, place, what, name, f"write {outer!r} on every path before")
        if not fits(channel.type, kind):
            what = f"{outer!r} is {show(channel.type)}, {show(kind)} is wanted"
            builder.report(node, place, what, name, "convert it in a step between")
        feeds[name] = outer
    _known(builder, node, "input", node.inputs, inputs, place)
    return feeds


def _known(
    builder: Builder,
    node: SubFlow | Recurse,
    what: str,
    given: Mapping[str, str],
    known: Mapping[str, Any],
    place: Place,
) -> None:
    for wrong in given.keys() - known.keys():
        fix = suggestion(wrong, known, label="it has")
        builder.report(node, place, f"the inner flow has no {what} {wrong!r}", None, fix)
