"""Assertions over runs: which steps ran, with which prompts, at which cost; events in order.

The record of a run comes from `flow.run(...)`, its events from `flow.stream(...)`. A step is named
as `RunRecord.at` takes it: by its label (`generate`), or by its place (`parallel/b/generate`,
`loop@2/generate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rag.flow.run.events import KINDS, Event, Token, name_of
from rag.flow.run.record import Occurrence, RunRecord
from rag.flow.run.values import shortened


def assert_ran(record: RunRecord, *steps: str, only: bool = False) -> None:
    """Steps ran, in this order.

    Args:
        record: The run.
        steps: Others may stand between them. A step that is to have run twice is named twice.
        only: No others may.

    Raises:
        AssertionError: One is missing or stands elsewhere; the message lists what ran.
    """
    __tracebackhide__ = True
    left = list(steps)
    others = []
    for one in record.occurrences:
        if left and _is(record, one, left[0]):
            left.pop(0)
        else:
            others.append(str(one.place))
    if left:
        before = steps[: len(steps) - len(left)]
        behind = f" after {', '.join(before)}" if before else ""
        raise AssertionError(f"{left[0]!r} did not run{behind}\n{_what_ran(record)}")
    if only and others:
        raise AssertionError(f"{', '.join(others)} ran as well\n{_what_ran(record)}")


def assert_not_ran(record: RunRecord, *steps: str) -> None:
    """None of the steps ran.

    Raises:
        AssertionError: One did.
    """
    __tracebackhide__ = True
    for step in steps:
        if record.at(step):
            raise AssertionError(f"{step!r} ran\n{_what_ran(record)}")


def the(record: RunRecord, step: str) -> Occurrence:
    """The one occurrence of a step: its `inputs`, `writes`, `calls`, `text`, `warnings`.

    Raises:
        AssertionError: It did not run, or more than once.
    """
    __tracebackhide__ = True
    found = record.at(step)
    if len(found) != 1:
        times = f"ran {len(found)} times" if found else "did not run"
        raise AssertionError(f"{step!r} {times}\n{_what_ran(record)}")
    return found[0]


def prompts_of(record: RunRecord, step: str) -> list[str]:
    """The prompts that a step sent to language models, in order: all messages of each as a text.

    Raises:
        AssertionError: The step did not run.
    """
    __tracebackhide__ = True
    found = record.at(step)
    if not found:
        raise AssertionError(f"{step!r} did not run\n{_what_ran(record)}")
    return [
        "\n\n".join(str(message["content"]) for message in call.prompt)
        for one in found
        for call in one.calls
    ]


def assert_tokens(record: RunRecord, at_most: int, *, llm_calls: int | None = None) -> None:
    """What the run cost.

    Args:
        record: The run.
        at_most: Tokens, read and written, of all calls of language models.
        llm_calls: How many calls there were, exactly; None: any number.

    Raises:
        AssertionError: It cost more, or made another number of calls.
    """
    __tracebackhide__ = True
    if llm_calls is not None and record.llm_calls != llm_calls:
        what = f"{record.llm_calls} LLM calls, not {llm_calls}"
        raise AssertionError(f"{what}\n{_what_ran(record)}")
    if record.tokens > at_most:
        what = f"{record.tokens} tokens, {at_most} are allowed"
        raise AssertionError(f"{what}\n{_what_ran(record)}")


def assert_events(events: Iterable[Event], *kinds: str | type[Event]) -> None:
    """Events of these kinds came in this order; others may stand between them.

    Args:
        events: Of a stream, in order.
        kinds: Classes of `rag.flow.run.events`, or their names (`node_started`).

    Raises:
        AssertionError: One is missing or stands elsewhere; the message lists what came.
    """
    __tracebackhide__ = True
    came = list(events)
    wanted = [_kind(one) for one in kinds]
    left = list(wanted)
    for event in came:
        if left and isinstance(event, left[0]):
            left.pop(0)
    if left:
        before = [name_of(one) for one in wanted[: len(wanted) - len(left)]]
        behind = f" after {', '.join(before)}" if before else ""
        listed = "\n".join(f"  {name_of(type(one))} {one.place}".rstrip() for one in came)
        raise AssertionError(f"no {name_of(left[0])}{behind}; the events:\n{listed or '  none'}")


def streamed(events: Iterable[Event], step: str | None = None) -> str:
    """The text that came in tokens; of all steps, or of those with this label or place."""
    tokens = (event for event in events if isinstance(event, Token))
    return "".join(
        event.text
        for event in tokens
        if step is None or step in (str(event.place), event.node, event.place.static[-1])
    )


def _kind(given: str | type[Event]) -> type[Event]:
    if isinstance(given, str):
        if given not in KINDS:
            raise AssertionError(f"there is no event {given!r}: {', '.join(sorted(KINDS))}")
        return KINDS[given]
    return given


def _is(record: RunRecord, one: Occurrence, step: str) -> bool:
    return any(found is one for found in record.at(step))


def _what_ran(record: RunRecord) -> str:
    lines: Sequence[str] = [*record.lines()]
    inputs = ", ".join(f"{name} = {shortened(value, 100)}" for name, value in record.inputs.items())
    return "\n".join([*lines, f"inputs: {inputs}"])
