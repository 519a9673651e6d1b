"""What a step does in the middle of its work: ask a person, run another flow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

from rag.errors import ConfigError, InputError, Interrupted, Stop
from rag.flow.place import Place, segment
from rag.flow.policies import Budget
from rag.flow.resources import Resources
from rag.flow.run.inputs import Takes, initial_state
from rag.flow.run.run import Run, Runner, Spent, Trail
from rag.flow.run.time_limit import time_limit
from rag.flow.run.tracing import traced_run
from rag.plain import plain


class Called(Takes, Protocol):
    """What a call needs of a flow."""

    name: str | None
    tracer: Any
    output_types: Mapping[str, Any]
    interrupts: Mapping[str, Mapping[str, Any]]
    resources: Resources
    budget: Budget | None
    runner: Runner


async def ask(
    run: Run, place: Place, number: int, message: str, shown: Mapping[str, Any]
) -> dict[str, Any]:
    """What a person answers to a question of a step.

    Args:
        run: The run.
        place: The static place of the step.
        number: Which of the step's questions it is, from 1.
        message: The question.
        shown: Name to value, which the person may change.

    Raises:
        Interrupted: It has not been answered yet.
        InputError: Nothing would store the run.
    """
    if run.journal is None:
        raise InputError(
            "the step pauses for approval, and nothing would store the run",
            fix="run it with a checkpoint: rag run --checkpoint, or Checkpoints.start",
        )
    where = run.at(place).below(".interrupt" if number == 1 else f".interrupt:{number}")
    question = _digest([message, shown])
    if run.recalls:
        found = await run.journal.recall(where, dict.fromkeys(shown, Any), question)
        if found is not None:
            return found
    raise Interrupted([Stop(where, str(place), message, dict(shown), kinds_shown(shown), question)])


async def once(
    run: Run,
    place: Place,
    name: str,
    kind: Any,
    work: Callable[[], Awaitable[Any]],
    inputs: Mapping[str, Any],
) -> Any:
    """What a part of a step gives, or gave before the run was stopped.

    Args:
        run: The run.
        place: The static place of the step.
        name: Of the part.
        kind: The type of what it gives.
        work: Does it.
        inputs: What it depends on.
    """
    if run.journal is None:
        return await work()
    where, given = run.at(place).below(f".once:{segment(name)}"), _digest(inputs)
    if run.recalls:
        found = await run.journal.recall(where, {"result": kind}, given)
        if found is not None:
            return found["result"]
    started = perf_counter()
    result = await work()
    await run.journal.record(
        where, {"result": kind}, {"result": result}, perf_counter() - started, given
    )
    return result


def kinds_shown(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Name to the type that a person's value must have: that of the value shown."""
    return {name: Any if value is None else type(value) for name, value in shown.items()}


async def call(
    run: Run, place: Place, number: int, flow: Called, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """The outputs of a flow that a step runs.

    Args:
        run: The run.
        place: The static place of the step.
        number: Which of the step's calls it is, from 1.
        flow: What runs.
        inputs: Its inputs.
    """
    if flow.interrupts:
        raise ConfigError(
            "a flow that pauses for approval cannot be run from within a step",
            where=next(iter(flow.interrupts)),
            fix="make it a step of the flow, or ask in one of its steps: ctx.interrupt(...)",
        )
    state = initial_state(flow, inputs)
    where = run.at(place).call(number)
    view = run.view(
        prefix=where,
        counts=(),
        depth=0,
        config=None,
        resources=flow.resources.within(run.resources),
        spent=run.spent if flow.budget is None else Spent(flow.budget, run.spent),
        trail=await _trail(run, where, inputs),
    )
    async with time_limit(flow.budget, str(where)):
        if flow.tracer is None:
            end = {**state, **await flow.runner(state, view)}
        else:
            traced = view.view(tracer=flow.tracer)
            end = {**state, **await traced_run(flow, state, lambda: flow.runner(state, traced))}
    return {name: end[name] for name in flow.output_types if name in end}


async def _trail(run: Run, where: Place, inputs: Mapping[str, Any]) -> Trail | None:
    """Whether what was recorded of a call counts: it does for equal inputs."""
    if run.journal is None:
        return None
    given = _digest(inputs)
    known = run.recalls and await run.journal.recall(where, {}, given) is not None
    if not known:
        await run.journal.record(where, {}, {}, 0.0, given)
    return None if run.trail is None else Trail(fresh=not known)


def _digest(value: Any) -> str:
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
