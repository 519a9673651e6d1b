"""Compiling routes: one branch of several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from rag.errors import StepError
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs.route import Route, case_name
from rag.flow.node import Node
from rag.flow.place import Place
from rag.flow.run.events import BranchSkipped
from rag.flow.run.run import Run, State
from rag.flow.scope import Scope, written_after_one_of
from rag.names import suggestion


def build_route(builder: Builder, node: Route, scope: Scope, place: Place) -> Built:
    """The choice, and the one branch that it names."""
    choose, chooser = _chooser(builder, node, scope, place)
    before = chooser.after(scope)
    branches = builder.branches(node, place, node.cases, before)
    if node.default is not None:
        branches[_DEFAULT] = builder.child(node, place, ".default", before)
    shown = {"default" if name is _DEFAULT else name: b.writes for name, b in branches.items()}
    if _DEFAULT in branches and "default" in node.cases:
        shown = {("" if name is _DEFAULT else name): b.writes for name, b in branches.items()}
    writes = written_after_one_of(shown, str(place))
    runners = {name: built.run for name, built in branches.items()}
    reads = frozenset().union(*(built.reads for built in branches.values()))
    writes = {**chooser.writes, **writes}
    reads = (reads - set(chooser.writes)) | chooser.reads

    async def run_route(state: State, run: Run) -> dict[str, Any]:
        value, wrote = await choose(state, run)
        name: Any = case_name(value)
        if name not in node.cases:
            if node.default is None:
                where = run.at(place)
                fix = f"{suggestion(name, node.cases, label='there are')}; or add a default"
                raise StepError(f"no case for {name!r}", where=str(where), fix=fix, place=where)
            name = _DEFAULT
        if run.emit is not None:
            for other in runners:
                if other is not name and other != name:
                    run.notify(BranchSkipped, place, branch=other or "default")
        inner = await runners[name]({**state, **wrote} if wrote else state, run)
        return {**wrote, **inner} if wrote else inner

    every = [*branches.values(), chooser]
    return Built(
        run_route,
        writes,
        reads,
        {n: why for built in branches.values() for n, why in built.removed.items()},
        waits=any(built.waits for built in every),
        heavy=any(built.heavy for built in every),
    )


_DEFAULT: Any = None
"""The default among the branches: no case can have this name."""

Choose = Callable[[State, Run], Any]


def _chooser(builder: Builder, node: Route, scope: Scope, place: Place) -> tuple[Choose, Built]:
    """What gives the case: an expression over channels, or a node that writes one."""
    if not isinstance(node.by, Node):
        return _by_expression(builder, node, node.by, scope, place)
    built = builder.child(node, place, ".by", scope)
    if len(built.writes) != 1:
        names = ", ".join(built.writes) or "none"
        what = f"the node that routes writes {len(built.writes)} channels ({names})"
        builder.report(node, place, what, "by", "it must write exactly one")
        return built.run, built
    (name,) = built.writes
    _exhaustive(builder, node, built.writes[name].type, place)

    async def by_node(state: State, run: Run) -> tuple[Any, Mapping[str, Any]]:
        wrote = await built.run(state, run)
        return wrote[name], wrote

    return by_node, built


def _by_expression(
    builder: Builder, node: Route, text: str, scope: Scope, place: Place
) -> tuple[Choose, Built]:
    expression = builder.expression(node, text, scope, place, "by")
    kind: Any = Any
    if expression is not None:
        channel = scope.channels.get(text.strip())
        booleans = {name for name, one in scope.channels.items() if one.type is bool}
        if channel is not None:
            kind = channel.type
        elif expression.is_boolean(booleans):
            kind = bool
    _exhaustive(builder, node, kind, place)

    async def by_expression(state: State, run: Run) -> tuple[Any, Mapping[str, Any]]:
        return evaluate(expression, state, run, place) if expression else None, {}

    async def nothing(state: State, run: Run) -> dict[str, Any]:
        return {}

    return by_expression, Built(nothing, {}, expression.names if expression else frozenset())


def _exhaustive(builder: Builder, node: Route, kind: Any, place: Place) -> None:
    if node.default is not None:
        return
    values: tuple[Any, ...] | None = None
    if kind is bool:
        values = (True, False)
    elif get_origin(kind) is Literal:
        values = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        values = tuple(kind)
    missing = [case_name(v) for v in values or () if case_name(v) not in node.cases]
    if values is None or missing:
        what = f"no case for {', '.join(missing)}" if missing else "other values have no branch"
        fix = "add a default; `default: []` goes on unchanged"
        builder.report(node, place, what, "default", fix)
