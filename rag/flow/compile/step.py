"""Compiling a step: an operator at its place, with its channels and resources bound and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from rag.errors import BudgetError, ConfigError, Interrupted, RagError, StepError
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.guard import Policies, guarded
from rag.flow.compile.recall import cached, journalled
from rag.flow.expressions import Expression
from rag.flow.operator import Operator
from rag.flow.place import Place
from rag.flow.resources import Resource
from rag.flow.run.context import RunContext
from rag.flow.run.events import NodeFailed, NodeFinished, NodeStarted
from rag.flow.run.run import Run, Runner, State
from rag.flow.run.tracing import step_span
from rag.flow.scope import Channel, Scope
from rag.flow.signature import Port, Signature
from rag.flow.types import fits, matcher, show
from rag.names import nearest, suggestion


def build_step(builder: Builder, node: Operator, scope: Scope, place: Place) -> Built:
    """An operator at its place, under its policies."""
    builder.found_step(place, node)
    try:
        signature = node.signature()
    except ConfigError as error:
        builder.report(node, place, error.what, None, error.fix)
        signature = Signature()
    bound = _Bound(builder, node, signature, scope, place)
    runner = traced(_runner(node, signature, bound, place), node, bound.reads, place)
    waits = signature.is_async or bool(bound.resources)
    built = Built(
        runner,
        bound.writes,
        frozenset(channel for _, channel in bound.reads),
        waits=waits,
        heavy=not signature.is_async and not node.light,
    )
    policies = Policies.of(node)
    built = guarded(builder, node, built, scope, place, policies, node.fallback)
    reads, resources = list(bound.reads), tuple(bound.resources.values())
    if node.fallback is not None:
        reads += [(f".fallback {name}", name) for name in sorted(built.reads)]
        resources = builder.resources_below(place)
    built = cached(builder, built, node, place, node.cache, reads, resources)
    return journalled(built, node, place)


class _Bound:
    """What the parameters and results of a step are bound to.

    Attributes:
        always: Pairs (parameter, channel) that are there.
        maybe: Pairs (parameter, channel) that may be.
        resources: Parameter to (name of the resource, its kind).
        writes: The channels that the step writes, under the names that they get here.
    """

    def __init__(
        self, builder: Builder, node: Operator, signature: Signature, scope: Scope, place: Place
    ) -> None:
        self._builder, self._node, self._place = builder, node, place
        self.always: list[tuple[str, str]] = []
        self.maybe: list[tuple[str, str]] = []
        self._channels(signature, scope)
        self.resources = self._resources(signature)
        self.writes = self._writes(signature)

    @property
    def reads(self) -> list[tuple[str, str]]:
        """All pairs (parameter, channel)."""
        return self.always + self.maybe

    def _report(self, what: str, port: str, fix: str) -> None:
        self._builder.report(self._node, self._place, what, port, fix)

    def _channels(self, signature: Signature, scope: Scope) -> None:
        node, names = self._node, [port.name for port in signature.reads]
        for wrong in node.inputs.keys() - set(names):
            fix = suggestion(wrong, names)
            if wrong in {port.name for port in signature.resources}:
                fix = f"it is a resource: write resources: {{{wrong}: {node.inputs[wrong]}}}"
            self._report(f"{node.use} reads no channel {wrong!r}", "inputs", fix)
        for port in signature.reads:
            name = node.inputs.get(port.name, port.name)
            channel = scope.channels.get(name)
            if channel is None:
                if port.required or port.name in node.inputs:
                    self._report(*_missing(port, name, scope))
                continue
            if not fits(channel.type, port.type):
                self._report(*_mistyped(port, name, channel))
            elif channel.optional and port.required:
                fix = f"write {name!r} on every path before, or give the parameter a default"
                self._report(f"{name!r} may be missing: {channel.optional}", port.name, fix)
            (self.maybe if channel.optional else self.always).append((port.name, name))

    def _resources(self, signature: Signature) -> dict[str, tuple[str, type[Resource]]]:
        node, bound = self._node, {}
        names = [port.name for port in signature.resources]
        for wrong in node.resources.keys() - set(names):
            what = f"{node.use} takes no resource {wrong!r}"
            self._report(what, "resources", suggestion(wrong, names))
        for port in signature.resources:
            name = node.resources.get(port.name, port.name)
            if port.required or name in self._builder.named():
                self._builder.bind(node, self._place, port.name, name, port.type)
                bound[port.name] = (name, port.type)
        return bound

    def _writes(self, signature: Signature) -> dict[str, Channel]:
        node, names = self._node, [port.name for port in signature.writes]
        for wrong in node.outputs.keys() - set(names):
            what = f"{node.use} writes no channel {wrong!r}"
            self._report(what, "outputs", suggestion(wrong, names))
        channels: dict[str, Channel] = {}
        for port in signature.writes:
            name = node.outputs.get(port.name, port.name)
            if name in channels:
                what = f"two of its results would go to {name!r}"
                self._report(what, port.name, "rename one: outputs:")
            channels[name] = Channel(port.type, str(self._place))
        return channels


def _missing(port: Port, name: str, scope: Scope) -> tuple[str, str, str]:
    what = f"nothing upstream writes {name!r} ({show(port.type)})"
    if name in scope.removed:
        what = f"{name!r} cannot be read here: {scope.removed[name]}"
    there = sorted(f"{n} ({show(c.type)})" for n, c in scope.channels.items())
    near = nearest(name, scope.channels)
    hint = f"did you mean {near!r}? " if near else ""
    fix = f"{hint}found upstream: {', '.join(there) or 'nothing'}"
    return what, port.name, f"{fix}; rename with inputs: {{{port.name}: ...}}"


def _mistyped(port: Port, name: str, channel: Channel) -> tuple[str, str, str]:
    what = (
        f"{name!r} is {show(channel.type)} (written by {channel.writer}), "
        f"{show(port.type)} is wanted"
    )
    fix = "convert it in a step between, or rename with inputs: to another channel"
    if fits(channel.type, list[port.type]):  # type: ignore[name-defined]
        fix = "a Map runs the step once per item; a join makes one of many"
    elif fits(list[channel.type], port.type):  # type: ignore[name-defined]
        fix = "it wants many: use it as the join of a Parallel or Map"
    return what, port.name, fix


class Results:
    """Takes what an operator returned: checks its types and names its channels."""

    def __init__(self, operator: Operator, signature: Signature) -> None:
        self._single = isinstance(operator.writes, str)
        self._channels = [
            (operator.outputs.get(port.name, port.name), matcher(port.type), port.type)
            for port in signature.writes
        ]

    def named(self, value: Any) -> dict[str, Any]:
        """Channel to value.

        Raises:
            TypeError: The operator returned something else than it declares.
        """
        if self._single:
            values: tuple[Any, ...] = (value,)
        elif isinstance(value, tuple) and len(value) == len(self._channels):
            values = value
        else:
            count = len(self._channels)
            raise TypeError(f"it returned {type(value).__name__}, not a tuple of {count}")
        wrote = {}
        for (name, matches, kind), item in zip(self._channels, values, strict=True):
            if not matches(item):
                raise TypeError(f"it returned {type(item).__name__} for {name!r}, not {show(kind)}")
            wrote[name] = item
        return wrote


def _runner(node: Operator, signature: Signature, bound: _Bound, place: Place) -> Runner:  # noqa: C901 - one closure: this is the engine's hot path
    always, maybe = bound.always, bound.maybe
    resources = [(parameter, *which) for parameter, which in bound.resources.items()]
    context, is_async = signature.context, signature.is_async
    light, collect = node.light, signature.collect
    results = Results(node, signature)
    names = signature.config
    function, config = node.run, {name: getattr(node, name) for name in names}

    async def run_step(state: State, run: Run) -> dict[str, Any]:  # noqa: C901, PLR0912 - the hot path
        emit, started = run.emit, perf_counter()
        try:
            call, settings = function, config
            if run.config is not None and (other := run.config.get(place)) is not None:
                call, settings = other.run, {name: getattr(other, name) for name in names}
            arguments = {parameter: state[channel] for parameter, channel in always}
            for parameter, channel in maybe:
                if channel in state:
                    arguments[parameter] = state[channel]
            if emit is not None:
                run.notify(NodeStarted, place, reads=dict(arguments))
            for parameter, value in arguments.items():
                if type(value) is list or type(value) is dict:
                    # What an operator does to its list is seen by nobody else.
                    arguments[parameter] = value.copy()
            for parameter, name, kind in resources:
                arguments[parameter] = await run.resource(name, kind)
            arguments.update(settings)
            ctx = None
            if context is not None:
                ctx = arguments[context] = RunContext(run, place)
            if collect is not None:
                ctx = ctx or RunContext(run, place)
                value = await collect(call, arguments, ctx, run)
            elif is_async:
                value = await call(**arguments)
            elif light or run.inline:
                value = call(**arguments)
            else:
                value = await run.in_thread(
                    lambda: call(**arguments), None if ctx is None else ctx.started
                )
            wrote = results.named(value)
        except (BudgetError, Interrupted):
            raise
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            raise _failed(run, place, error, state, started) from error
        except Exception as error:
            raise _failed(run, place, error, state, started) from error
        if emit is not None:
            run.notify(NodeFinished, place, writes=wrote, seconds=perf_counter() - started)
        return wrote

    return run_step


def _is_cancelled() -> bool:
    """Whether the task is being cancelled, and no operator raised CancelledError by itself."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0


def _failed(
    run: Run, place: Place, error: BaseException, state: State, started: float
) -> StepError:
    failed = failure(error, run.at(place), state)
    told = error if isinstance(error, Exception) else failed
    run.notify(NodeFailed, place, error=told, seconds=perf_counter() - started)
    return failed


def failure(error: BaseException, place: Place, state: Mapping[str, Any]) -> StepError:
    """The error of a step, with its place and a summary of the channels, not their contents."""
    if isinstance(error, RagError):
        where = f"{place}: {error.where}" if error.where else str(place)
        failed = StepError(error.what, where=where, fix=error.fix, place=place)
        failed.exit_code = error.exit_code
    else:
        failed = StepError(f"{type(error).__name__}: {error}", where=str(place), place=place)
    channels = ", ".join(f"{name}={summary(value)}" for name, value in state.items())
    failed.add_note(f"channels: {channels or 'none'}")
    return failed


def summary(value: Any) -> str:
    """A value's type and size, without its contents."""
    size = f" of {len(value)}" if isinstance(value, str | list | tuple | dict | set) else ""
    return f"{type(value).__name__}{size}"


def evaluate(expression: Expression, state: Mapping[str, Any], run: Run, place: Place) -> Any:
    """The expression's value; a failure names the node."""
    try:
        return expression(state)
    except ConfigError as error:
        raise failure(error, run.at(place), state) from error


def traced(runner: Runner, node: Operator, reads: list[tuple[str, str]], place: Place) -> Runner:
    """The runner, each run of it a span where the flow is traced."""

    async def run_traced(state: State, run: Run) -> dict[str, Any]:
        if run.tracer is None:
            return await runner(state, run)
        with step_span(run.tracer, node, run.at(place)) as span:
            span.reads({name: state[channel] for name, channel in reads if channel in state})
            wrote = await runner(state, run)
            span.wrote(wrote)
            return wrote

    def run_plain_or_traced(state: State, run: Run) -> Any:
        # Not async itself: a run that nobody traces pays no second coroutine per step.
        return runner(state, run) if run.tracer is None else run_traced(state, run)

    return run_plain_or_traced
