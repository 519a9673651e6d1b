"""Building loops: what a turn starts from, and when it is the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rag.flow.compile.builder import Builder, Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs import Loop
from rag.flow.expressions import Expression
from rag.flow.run.events import Event, LoopTurn, as_dict
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, merge


def build_loop(builder: Builder, node: Loop, scope: Scope, path: str) -> Built:
    """A loop: the body, then the condition, at most `max_turns` times."""
    here = f"{path}.{node.name or 'loop'}"
    if node.history is not None:
        scope = scope.with_channels({node.history: Channel(list[dict[str, Any]], here)})
    entry = _entry(builder, node, scope, here)
    body = builder.build(node.body, entry, f"{here}.body")
    wrote = body.scope.written_since(entry)
    for name in set(node.carry or ()) - set(wrote):
        fix = f"the body writes: {', '.join(wrote) or 'nothing'}"
        builder.report(node, here, f"the body does not write {name!r}", "carry", fix)
    if node.history in wrote:
        what = f"the body writes {node.history!r}, which is to hold the turns"
        builder.report(node, here, what, "history", "name another channel")
    until = None
    if node.until is not None:
        until = builder.expression(
            node, node.until, body.scope, here, "until", frozenset({"turn", "events"})
        )
    resets = [n for n in wrote if node.carry is not None and n not in node.carry]
    runner, turns, history = body.run, node.max_turns, node.history

    listens = until is not None and "events" in until.names

    async def run_loop(state: State, run: Run) -> None:
        before = {name: state[name] for name in resets if name in state}
        turns_so_far: list[dict[str, Any]] = []
        if history is not None:
            state[history] = []
        for turn in range(1, turns + 1):
            if run.emit is not None:
                run.emit(LoopTurn(here, turn))
            here_and_now = run.at(f"{here}@{turn}")
            heard: list[Event] = []
            await runner(state, _heard(here_and_now, heard) if listens else here_and_now)
            if history is not None:
                turns_so_far.append({name: state[name] for name in wrote})
                state[history] = list(turns_so_far)
            if turn == turns or (until and _holds(until, state, here_and_now, here, turn, heard)):
                return
            for name in resets:
                state.pop(name, None)
            state.update(before)

    settled = {n: Channel(c.type, c.writer) for n, c in wrote.items()}
    leftover = {n for n, c in body.scope.channels.items() if c.maybe and n not in scope.channels}
    channels = {n: c for n, c in body.scope.channels.items() if n not in leftover - set(wrote)}
    return Built(run_loop, Scope({**channels, **settled}, body.scope.gone), body.suspends)


def _holds(
    until: Expression, state: State, run: Run, here: str, turn: int, heard: list[Event]
) -> bool:
    """Whether the condition holds after a turn."""
    if "events" not in until.names:
        return bool(evaluate(until, {**state, "turn": turn}, here))
    # A resumed run does not hear again what the steps told: the verdict is remembered.
    place, kinds = f"{run.place}{here}.until", {"until": bool}
    found = None if run.journal is None else run.journal.recall(place, kinds)
    if found is None:
        told = [as_dict(event) for event in heard]
        found = {"until": bool(evaluate(until, {**state, "turn": turn, "events": told}, here))}
        if run.journal is not None:
            run.journal.record(place, kinds, found, 0.0)
    return bool(found["until"])


def _heard(run: Run, heard: list[Event]) -> Run:
    """The run, everything told in it being noted too."""
    outer = run.emit

    def emit(event: Event) -> None:
        heard.append(event)
        if outer is not None:
            outer(event)

    return replace(run, emit=emit)


def _entry(builder: Builder, node: Loop, scope: Scope, here: str) -> Scope:
    """The scope that every turn starts from: what was there before, and what is carried."""
    entry = scope
    # A turn may widen what the next one starts with; the types settle after a few rounds.
    for _ in range(4):
        body = builder.quiet(node.body, entry, f"{here}.body")
        wrote = body.scope.written_since(entry)
        carried = wrote if node.carry is None else {n: wrote[n] for n in node.carry if n in wrote}
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
