"""Building steps, sequences and inner flows."""

from __future__ import annotations

from rag.errors import ConfigError
from rag.flow.build.builder import Builder, Built
from rag.flow.build.step import compile_step
from rag.flow.constructs import Sequence, SubFlow
from rag.flow.operator import Operator
from rag.flow.policy import guarded
from rag.flow.run import Run, Runner, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, show


def build_step(builder: Builder, node: Operator, scope: Scope, path: str) -> Built:
    """An operator at its place, under its policies."""
    here = f"{path}.{node.label}" if path else node.label
    runner, after = compile_step(
        node, scope, here, lambda *problem: builder.report(node, here, *problem)
    )
    waits = suspends(node)
    if node.timeout or node.retry or node.fallback:
        fallback = _fallback(builder, node, node.fallback, scope, after, here)
        runner = guarded(runner, here, node.timeout, node.retry, fallback)
        waits = True
    return Built(runner, after, waits)


def _fallback(
    builder: Builder,
    node: Operator,
    instead: Operator | None,
    scope: Scope,
    after: Scope,
    here: str,
) -> Runner | None:
    """The operator in the place of one that failed; it must write the same channels."""
    if instead is None:
        return None
    built = builder.build(instead, scope, f"{here}.fallback")
    found = built.scope.written_since(scope)
    for name, channel in after.written_since(scope).items():
        if name not in found:
            what = f"the fallback does not write {name!r}"
            builder.report(node, here, what, "fallback", "rename with outputs: in the fallback")
        elif not fits(found[name].type, channel.type):
            what = f"the fallback writes {name!r} as {show(found[name].type)}"
            builder.report(node, here, what, "fallback", f"{show(channel.type)} is wanted")
    return built.run


def build_sequence(builder: Builder, node: Sequence, scope: Scope, path: str) -> Built:
    """Nodes in order, each over the scope that the one before left."""
    runners: list[Runner] = []
    waits = False
    for position, child in enumerate(node.nodes):
        built = builder.build(child, scope, f"{path}[{position}]")
        runners.append(built.run)
        waits = waits or built.suspends
        scope = built.scope

    async def run_sequence(state: State, run: Run) -> None:
        for runner in runners:
            await runner(state, run)

    return Built(run_sequence, scope, waits)


def build_subflow(builder: Builder, node: SubFlow, scope: Scope, path: str) -> Built:
    """A flow with a state of its own, fed from and read into the outer one."""
    here = f"{path}.{node.name or node.flow.name or 'flow'}"
    feeds: dict[str, str] = {}
    for name, kind in node.flow.inputs.items():
        outer = node.inputs.get(name, name)
        channel = scope.channels.get(outer)
        if channel is None:
            if not fits(type(None), kind):
                near = scope.nearest(outer)
                fix = f"did you mean {near!r}?" if near else f"rename with inputs: {{{name}: ...}}"
                builder.report(node, here, f"nothing upstream writes {outer!r}", name, fix)
            continue
        if not fits(channel.type, kind):
            what = f"{outer!r} is {show(channel.type)}, {show(kind)} is wanted"
            builder.report(node, here, what, name, "convert it in a step between")
        feeds[name] = outer
    for kind_of, given, known in (
        ("input", node.inputs, node.flow.inputs),
        ("output", node.outputs, node.flow.output_types),
    ):
        for wrong in given.keys() - known.keys():
            fix = f"it has: {', '.join(known)}"
            builder.report(node, here, f"the inner flow has no {kind_of} {wrong!r}", None, fix)
    leaves = {name: node.outputs.get(name, name) for name in node.flow.output_types}
    channels = {leaves[n]: Channel(kind, here) for n, kind in node.flow.output_types.items()}
    inner = node.flow

    async def run_subflow(state: State, run: Run) -> None:
        result = await inner.run_within(run, {n: state[outer] for n, outer in feeds.items()})
        for name, outer in leaves.items():
            state[outer] = result[name]

    return Built(run_subflow, scope.with_channels(channels), inner.suspends)


def suspends(operator: Operator) -> bool:
    """Whether the step may wait: for a coroutine, a thread, or a resource being opened."""
    try:
        signature = operator.signature()
    except ConfigError:
        return True
    return signature.is_async or operator.blocking or bool(signature.resources)
