"""Building routes: one branch of several runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from rag.errors import StepError
from rag.flow.compile.builder import Builder, Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs import Route, case_name
from rag.flow.run.events import BranchSkipped
from rag.flow.run.run import Run, State
from rag.flow.scope import Scope, common


def build_route(builder: Builder, node: Route, scope: Scope, path: str) -> Built:
    """The choice, and the one branch that it names."""
    here = f"{path}.{node.name or 'route'}"
    choose, before, waits = _chooser(builder, node, scope, here)
    branches = {
        name: builder.build(branch, before, f"{here}.{name}") for name, branch in node.cases.items()
    }
    if node.default is not None:
        branches["default"] = builder.build(node.default, before, f"{here}.default")
    after = common(before, {name: built.scope for name, built in branches.items()}, here)
    runners = {name: built.run for name, built in branches.items()}

    async def run_route(state: State, run: Run) -> None:
        name = case_name(await choose(state, run))
        if name not in node.cases:
            if node.default is None:
                raise StepError(
                    f"no case for {name!r}",
                    where=here,
                    fix=f"there are: {', '.join(node.cases)}; add the case or a default",
                )
            name = "default"
        if run.emit is not None:
            for other in runners:
                if other != name:
                    run.emit(BranchSkipped(here, other))
        await runners[name](state, run)
        for channel in [c for c in state if c not in after.channels]:
            del state[channel]

    waits = waits or any(built.suspends for built in branches.values())
    return Built(run_route, after, waits)


def _chooser(
    builder: Builder, node: Route, scope: Scope, here: str
) -> tuple[Callable[[State, Run], Any], Scope, bool]:
    """What tells the case: an expression over channels, or a node that writes one."""
    if isinstance(node.by, str):
        expression = builder.expression(node, node.by, scope, here, "by", frozenset())
        kind: Any = Any
        if expression is not None and node.by.strip() in scope.channels:
            kind = scope.channels[node.by.strip()].type
        _exhaustive(builder, node, kind, here)

        async def by_expression(state: State, run: Run) -> Any:
            return evaluate(expression, state, here) if expression else None

        return by_expression, scope, False
    built = builder.build(node.by, scope, f"{here}.by")
    wrote = built.scope.written_since(scope)
    if len(wrote) != 1:
        what = f"the node that routes writes {len(wrote)} channels ({', '.join(wrote)})"
        builder.report(node, here, what, "by", "it must write exactly one")
        return built.run, built.scope, built.suspends
    channel = next(iter(wrote))
    _exhaustive(builder, node, wrote[channel].type, here)

    async def by_node(state: State, run: Run) -> Any:
        await built.run(state, run)
        return state[channel]

    return by_node, built.scope, built.suspends


def _exhaustive(builder: Builder, node: Route, kind: Any, here: str) -> None:
    if node.default is not None:
        return
    values: tuple[Any, ...] | None = None
    if kind is bool or set(node.cases) == {"true", "false"}:
        values = (True, False)
    elif get_origin(kind) is Literal:
        values = get_args(kind)
    missing = [case_name(v) for v in values or () if case_name(v) not in node.cases]
    if values is None or missing:
        what = f"no case for {', '.join(missing)}" if missing else "other values have no branch"
        builder.report(
            node, here, what, "default", "add a default; `default: []` goes on unchanged"
        )
