"""Build a flow: check every node against the channels before it, and compile it to a runner.

One pass does both, so that what was checked is what runs. All problems are collected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from rag.errors import BuildError, ConfigError, RagError, StepError
from rag.flow.constructs import Loop, Map, Parallel, Route, Sequence, SubFlow, case_name
from rag.flow.events import BranchSkipped, LoopTurn
from rag.flow.expressions import Expression
from rag.flow.node import Node
from rag.flow.operator import Operator
from rag.flow.run import Run, Runner, State
from rag.flow.scope import Channel, Scope, common
from rag.flow.steps import compile_step, failure
from rag.flow.types import fits, merge, show

Positions = Mapping[int, str]
"""`id(node)` to the place in a file that it was read from."""


@dataclass(frozen=True)
class Built:
    """A compiled node and the channels after it."""

    run: Runner
    scope: Scope
    suspends: bool
    """Whether it may wait for something: only then does it need an event loop and tasks."""


class Builder:
    """Builds one flow.

    Args:
        positions: Where nodes stand in a file, for messages.
    """

    def __init__(self, positions: Positions | None = None) -> None:
        self.positions = positions or {}
        self.problems: list[RagError] = []

    def build(self, node: Node, scope: Scope, path: str) -> Built:
        """Check and compile `node`; problems are added to `problems`."""
        match node:
            case Operator():
                return self._step(node, scope, path)
            case Sequence():
                return self._sequence(node, scope, path)
            case Parallel():
                return self._parallel(node, scope, path)
            case Map():
                return self._map(node, scope, path)
            case Route():
                return self._route(node, scope, path)
            case Loop():
                return self._loop(node, scope, path)
            case SubFlow():
                return self._subflow(node, scope, path)
        raise TypeError(f"{type(node).__name__} is no construct")

    def report(self, node: Node, path: str, what: str, port: str | None, fix: str | None) -> None:
        """Add a problem."""
        place = self.positions.get(id(node))
        where = " ".join(filter(None, (place, path, f"({port})" if port else None)))
        self.problems.append(ConfigError(what, where=where, fix=fix))

    def _step(self, node: Operator, scope: Scope, path: str) -> Built:
        here = f"{path}.{node.label}" if path else node.label
        return Built(
            *compile_step(node, scope, here, lambda *problem: self.report(node, here, *problem)),
            suspends=suspends(node),
        )

    def _sequence(self, node: Sequence, scope: Scope, path: str) -> Built:
        runners: list[Runner] = []
        waits = False
        for position, child in enumerate(node.nodes):
            built = self.build(child, scope, f"{path}[{position}]")
            runners.append(built.run)
            waits = waits or built.suspends
            scope = built.scope

        async def run_sequence(state: State, run: Run) -> None:
            for runner in runners:
                await runner(state, run)

        return Built(run_sequence, scope, waits)

    def _parallel(self, node: Parallel, scope: Scope, path: str) -> Built:
        here = f"{path}.{node.name or 'parallel'}"
        branches = {
            name: self.build(branch, scope, f"{here}.{name}")
            for name, branch in node.branches.items()
        }
        wrote = {name: built.scope.written_since(scope) for name, built in branches.items()}
        runners = [built.run for built in branches.values()]
        waits = any(built.suspends for built in branches.values())
        names = list(branches)
        if node.join is None:
            return self._union(node, scope, here, runners, wrote, waits)
        shared = set.intersection(*(set(w) for w in wrote.values()))
        partly = {
            name: f"the branch {', '.join(b for b in wrote if name not in wrote[b])} of {here} "
            "does not write it"
            for name in sorted({n for w in wrote.values() for n in w} - shared)
        }
        types = {name: merge(w[name].type for w in wrote.values()) for name in sorted(shared)}
        join = self._join(node.join, scope, here, types, partly)

        async def run_parallel(state: State, run: Run) -> None:
            ends = await at_once([(runner, dict(state)) for runner in runners], run, waits)
            await join(state, run, ends, names)

        return Built(run_parallel, join.scope, waits or join.suspends)

    def _union(
        self,
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
                self.report(
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

    def _map(self, node: Map, scope: Scope, path: str) -> Built:
        here = f"{path}.{node.name or 'map'}"
        over = scope.channels.get(node.over)
        item: Any = Any
        if over is None:
            near = scope.nearest(node.over)
            fix = f"did you mean {near!r}?" if near else f"there are: {', '.join(scope.channels)}"
            self.report(node, here, f"nothing upstream writes {node.over!r}", "over", fix)
        elif not fits(over.type, list):
            what = f"{node.over!r} is {show(over.type)}, not a list"
            self.report(node, here, what, "over", "map over a channel that holds a list")
        else:
            item = (get_args(over.type) or (Any,))[0]
        inner = scope.with_channels({node.as_: Channel(item, here)})
        body = self.build(node.body, inner, f"{here}.body")
        types = {n: c.type for n, c in sorted(body.scope.written_since(inner).items())}
        join = self._join(node.join, scope, here, types, {}) if node.join else None
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

    def _join(
        self,
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
        built = self.build(operator, inner, f"{here}.join")
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

    def _route(self, node: Route, scope: Scope, path: str) -> Built:
        here = f"{path}.{node.name or 'route'}"
        choose, before, waits = self._chooser(node, scope, here)
        branches = {
            name: self.build(branch, before, f"{here}.{name}")
            for name, branch in node.cases.items()
        }
        if node.default is not None:
            branches["default"] = self.build(node.default, before, f"{here}.default")
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
        self, node: Route, scope: Scope, here: str
    ) -> tuple[Callable[[State, Run], Any], Scope, bool]:
        """What tells the case: an expression over channels, or a node that writes one."""
        if isinstance(node.by, str):
            expression = self._expression(node, node.by, scope, here, "by", frozenset())
            kind: Any = Any
            if expression is not None and node.by.strip() in scope.channels:
                kind = scope.channels[node.by.strip()].type
            self._exhaustive(node, kind, here)

            async def by_expression(state: State, run: Run) -> Any:
                return _evaluate(expression, state, here) if expression else None

            return by_expression, scope, False
        built = self.build(node.by, scope, f"{here}.by")
        wrote = built.scope.written_since(scope)
        if len(wrote) != 1:
            what = f"the node that routes writes {len(wrote)} channels ({', '.join(wrote)})"
            self.report(node, here, what, "by", "it must write exactly one")
            return built.run, built.scope, built.suspends
        channel = next(iter(wrote))
        self._exhaustive(node, wrote[channel].type, here)

        async def by_node(state: State, run: Run) -> Any:
            await built.run(state, run)
            return state[channel]

        return by_node, built.scope, built.suspends

    def _exhaustive(self, node: Route, kind: Any, here: str) -> None:
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
            self.report(
                node, here, what, "default", "add a default; `default: []` goes on unchanged"
            )

    def _loop(self, node: Loop, scope: Scope, path: str) -> Built:
        here = f"{path}.{node.name or 'loop'}"
        entry = self._loop_entry(node, scope, here)
        body = self.build(node.body, entry, f"{here}.body")
        wrote = body.scope.written_since(entry)
        for name in set(node.carry or ()) - set(wrote):
            fix = f"the body writes: {', '.join(wrote) or 'nothing'}"
            self.report(node, here, f"the body does not write {name!r}", "carry", fix)
        until = None
        if node.until is not None:
            until = self._expression(
                node, node.until, body.scope, here, "until", frozenset({"turn"})
            )
        resets = [n for n in wrote if node.carry is not None and n not in node.carry]
        runner, turns = body.run, node.max_turns

        async def run_loop(state: State, run: Run) -> None:
            before = {name: state[name] for name in resets if name in state}
            for turn in range(1, turns + 1):
                if run.emit is not None:
                    run.emit(LoopTurn(here, turn))
                await runner(state, run)
                if turn == turns or (
                    until is not None and _evaluate(until, {**state, "turn": turn}, here)
                ):
                    return
                for name in resets:
                    state.pop(name, None)
                state.update(before)

        settled = {n: Channel(c.type, c.writer) for n, c in wrote.items()}
        leftover = {
            n for n, c in body.scope.channels.items() if c.maybe and n not in scope.channels
        }
        channels = {n: c for n, c in body.scope.channels.items() if n not in leftover - set(wrote)}
        return Built(run_loop, Scope({**channels, **settled}, body.scope.gone), body.suspends)

    def _loop_entry(self, node: Loop, scope: Scope, here: str) -> Scope:
        """The scope that every turn starts from: what was there before, and what is carried."""
        entry = scope
        # A turn may widen what the next one starts with; the types settle after a few rounds.
        for _ in range(4):
            body = self._quiet(node.body, entry, f"{here}.body")
            wrote = body.scope.written_since(entry)
            carried = (
                wrote if node.carry is None else {n: wrote[n] for n in node.carry if n in wrote}
            )
            channels = {}
            for name, channel in carried.items():
                old = scope.channels.get(name)
                kind = channel.type if old is None else merge([old.type, channel.type])
                maybe = old is None or old.maybe
                known = entry.channels.get(name)
                if known is None or not fits(kind, known.type):
                    channels[name] = Channel(kind, channel.writer, maybe)
            if not channels:
                break
            entry = entry.with_channels(channels)
        return entry

    def _quiet(self, node: Node, scope: Scope, path: str) -> Built:
        """Build for knowledge only: the problems are found again by the build that counts."""
        return Builder().build(node, scope, path)

    def _subflow(self, node: SubFlow, scope: Scope, path: str) -> Built:
        here = f"{path}.{node.name or node.flow.name or 'flow'}"
        feeds: dict[str, str] = {}
        for name, kind in node.flow.inputs.items():
            outer = node.inputs.get(name, name)
            channel = scope.channels.get(outer)
            if channel is None:
                if not fits(type(None), kind):
                    near = scope.nearest(outer)
                    fix = (
                        f"did you mean {near!r}?"
                        if near
                        else f"rename with inputs: {{{name}: ...}}"
                    )
                    self.report(node, here, f"nothing upstream writes {outer!r}", name, fix)
                continue
            if not fits(channel.type, kind):
                what = f"{outer!r} is {show(channel.type)}, {show(kind)} is wanted"
                self.report(node, here, what, name, "convert it in a step between")
            feeds[name] = outer
        for kind_of, given, known in (
            ("input", node.inputs, node.flow.inputs),
            ("output", node.outputs, node.flow.output_types),
        ):
            for wrong in given.keys() - known.keys():
                fix = f"it has: {', '.join(known)}"
                self.report(node, here, f"the inner flow has no {kind_of} {wrong!r}", None, fix)
        leaves = {name: node.outputs.get(name, name) for name in node.flow.output_types}
        channels = {leaves[n]: Channel(kind, here) for n, kind in node.flow.output_types.items()}
        inner = node.flow

        async def run_subflow(state: State, run: Run) -> None:
            result = await inner.run_within(run, {n: state[outer] for n, outer in feeds.items()})
            for name, outer in leaves.items():
                state[outer] = result[name]

        return Built(run_subflow, scope.with_channels(channels), inner.suspends)

    def _expression(
        self, node: Node, text: str, scope: Scope, here: str, port: str, extra: frozenset[str]
    ) -> Expression | None:
        try:
            expression = Expression(text)
        except ConfigError as error:
            self.report(node, here, error.what, port, error.fix)
            return None
        for name in sorted(expression.names - extra):
            channel = scope.channels.get(name)
            if channel is None or channel.maybe:
                near = scope.nearest(name)
                there = ", ".join(sorted({*scope.channels, *extra}))
                fix = (
                    f"did you mean {near!r}? there are: {there}" if near else f"there are: {there}"
                )
                why = scope.gone.get(name)
                what = f"{text!r} asks for {name!r}: {why or 'nothing upstream writes it'}"
                self.report(node, here, what, port, fix)
        return expression


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


def _evaluate(expression: Expression, state: State, where: str) -> Any:
    try:
        return expression(state)
    except ConfigError as error:
        raise failure(error, where, state) from error


def suspends(operator: Operator) -> bool:
    """Whether the step may wait: for a coroutine, a thread, or a resource being opened."""
    try:
        signature = operator.signature()
    except ConfigError:
        return True
    return signature.is_async or operator.blocking or bool(signature.resources)


def check(problems: list[RagError]) -> None:
    """Raise what a build found, all of it."""
    if problems:
        raise BuildError(problems)
