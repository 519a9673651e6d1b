"""Compiling a step: an operator at its place, with its channels bound and checked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from rag.errors import BudgetError, ConfigError, RagError, StepError
from rag.flow.expressions import Expression
from rag.flow.operator import Operator, Port, Signature
from rag.flow.run.context import RunContext
from rag.flow.run.events import NodeFailed, NodeFinished, NodeStarted
from rag.flow.run.run import Run, Runner, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, matcher, show

Report = Callable[[str, str | None, str | None], None]
"""Takes a problem: what is wrong, at which port, how to mend it."""


def bind(
    operator: Operator, signature: Signature, scope: Scope, report: Report
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Find the channel for each parameter.

    Returns:
        Pairs (parameter, channel) that are always there, and those that may be.
    """
    names = [port.name for port in signature.reads]
    for wrong in operator.inputs.keys() - set(names):
        report(f"{operator.use} reads no channel {wrong!r}", "inputs", _nearest(wrong, names))
    always: list[tuple[str, str]] = []
    maybe: list[tuple[str, str]] = []
    for port in signature.reads:
        name = operator.inputs.get(port.name, port.name)
        channel = scope.channels.get(name)
        if channel is None:
            if port.required or port.name in operator.inputs:
                report(*_missing(port, name, scope))
            continue
        if not fits(channel.type, port.type):
            report(*_mistyped(port, name, channel))
        elif channel.maybe and port.required:
            report(
                f"{name!r} is there from the loop's second turn only (written by {channel.writer})",
                port.name,
                f"write {name!r} before the loop, or give the parameter a default",
            )
        (maybe if channel.maybe else always).append((port.name, name))
    return always, maybe


def _missing(port: Port, name: str, scope: Scope) -> tuple[str, str, str]:
    what = f"nothing upstream writes {name!r} ({show(port.type)})"
    if name in scope.gone:
        what = f"{name!r} cannot be read here: {scope.gone[name]}"
    there = ", ".join(f"{n} ({show(c.type)})" for n, c in sorted(scope.channels.items()))
    near = scope.nearest(name)
    fix = f"found upstream: {there or 'nothing'}"
    if near:
        fix = f"did you mean {near!r}? {fix}"
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


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = f"known: {', '.join(known) or 'none'}"
    return f"did you mean {near[0]!r}? {listed}" if near else listed


def written(
    operator: Operator, signature: Signature, path: str, report: Report
) -> dict[str, Channel]:
    """The channels that the step writes, under the names that they get here."""
    names = [port.name for port in signature.writes]
    for wrong in operator.outputs.keys() - set(names):
        report(f"{operator.use} writes no channel {wrong!r}", "outputs", _nearest(wrong, names))
    channels: dict[str, Channel] = {}
    for port in signature.writes:
        name = operator.outputs.get(port.name, port.name)
        if name in channels:
            report(f"two of its results would go to {name!r}", port.name, "rename one: outputs:")
        channels[name] = Channel(port.type, path)
    return channels


def compile_step(
    operator: Operator, scope: Scope, path: str, report: Report
) -> tuple[Runner, list[tuple[str, str]], dict[str, Channel]]:
    """Check the operator against the channels before it, and make it a runner.

    Returns:
        The runner, pairs (parameter, channel) that it reads, and the channels that it writes.
    """
    try:
        signature = operator.signature()
    except ConfigError as error:
        report(error.what, None, error.fix)
        signature = Signature((), (), (), (), None, is_async=False)
    always, maybe = bind(operator, signature, scope, report)
    channels = written(operator, signature, path, report)
    runner = _runner(operator, signature, always, maybe, path)
    return runner, always + maybe, channels


def _runner(  # noqa: C901 - one closure: this is the engine's hot path
    operator: Operator,
    signature: Signature,
    always: list[tuple[str, str]],
    maybe: list[tuple[str, str]],
    path: str,
) -> Runner:
    function = operator.run
    config = {name: getattr(operator, name) for name in signature.config}
    resources = [(port.name, port.type) for port in signature.resources]
    context, blocking, is_async = signature.context, operator.blocking, signature.is_async
    checks = [
        (operator.outputs.get(p.name, p.name), matcher(p.type), p.type) for p in signature.writes
    ]
    single = isinstance(operator.writes, str)

    def store(state: State, value: Any) -> dict[str, Any]:
        if single:
            values: tuple[Any, ...] = (value,)
        elif isinstance(value, tuple) and len(value) == len(checks):
            values = value
        else:
            raise TypeError(f"it returned {type(value).__name__}, not a tuple of {len(checks)}")
        wrote = {}
        for (name, matches, kind), item in zip(checks, values, strict=True):
            if not matches(item):
                raise TypeError(f"it returned {type(item).__name__} for {name!r}, not {show(kind)}")
            wrote[name] = item
        state.update(wrote)
        return wrote

    async def run_step(state: State, run: Run) -> None:
        emit = run.emit
        started = 0.0
        if emit is not None:
            emit(NodeStarted(path))
            started = perf_counter()
        try:
            arguments = {parameter: state[channel] for parameter, channel in always}
            for parameter, channel in maybe:
                if channel in state:
                    arguments[parameter] = state[channel]
            for name, kind in resources:
                arguments[name] = await run.resource(name, kind)
            arguments.update(config)
            if context is not None:
                arguments[context] = RunContext(run, path)
            if is_async:
                value = await function(**arguments)
            elif blocking:
                value = await run.threads.call(function, **arguments)
            else:
                value = function(**arguments)
            wrote = store(state, value)
        except BudgetError:
            raise
        except Exception as error:
            if emit is not None:
                emit(NodeFailed(path, error, perf_counter() - started))
            raise failure(error, path, state) from error
        if emit is not None:
            emit(NodeFinished(path, wrote, perf_counter() - started))

    return run_step


def failure(error: Exception, path: str, state: Mapping[str, Any]) -> StepError:
    """The error of a step, with its path and a summary of the channels, not their contents."""
    if isinstance(error, StepError):
        return error
    if isinstance(error, RagError):
        where = f"{path}: {error.where}" if error.where else path
        failed = StepError(error.what, where=where, fix=error.fix)
        failed.exit_code = error.exit_code
    else:
        failed = StepError(f"{type(error).__name__}: {error}", where=path)
    channels = ", ".join(f"{name}={summary(value)}" for name, value in state.items())
    failed.add_note(f"channels: {channels or 'none'}")
    return failed


def summary(value: Any) -> str:
    """A value's type and size, without what it says."""
    size = f" of {len(value)}" if isinstance(value, str | list | tuple | dict | set) else ""
    return f"{type(value).__name__}{size}"


def evaluate(expression: Expression, state: State, where: str) -> Any:
    """The expression's value; a failure names the node."""
    try:
        return expression(state)
    except ConfigError as error:
        raise failure(error, where, state) from error
