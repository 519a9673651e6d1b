"""Building steps and sequences."""

from __future__ import annotations

from rag.errors import ConfigError
from rag.flow.compile.builder import Builder, Built
from rag.flow.compile.step import compile_step
from rag.flow.compile.watched import watched
from rag.flow.constructs import Sequence
from rag.flow.operator import Operator
from rag.flow.run.policy import guarded
from rag.flow.run.run import Run, Runner, State
from rag.flow.scope import Scope
from rag.flow.types import fits, show


def build_step(builder: Builder, node: Operator, scope: Scope, path: str) -> Built:
    """An operator at its place, under its policies."""
    here = f"{path}.{node.label}" if path else node.label
    runner, reads, channels = compile_step(
        node, scope, here, lambda *problem: builder.report(node, here, *problem)
    )
    after = scope.with_channels(channels)
    waits = suspends(node) or node.cache is not None
    if node.timeout or node.retry or node.fallback:
        fallback = _fallback(builder, node, node.fallback, scope, after, here)
        runner = guarded(runner, here, node.timeout, node.retry, fallback)
        waits = True
    kinds = {name: channel.type for name, channel in channels.items()}
    return Built(watched(runner, node, reads, kinds, here), after, waits)


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


def suspends(operator: Operator) -> bool:
    """Whether the step may wait: for a coroutine, a thread, or a resource being opened."""
    try:
        signature = operator.signature()
    except ConfigError:
        return True
    return signature.is_async or operator.blocking or bool(signature.resources)
