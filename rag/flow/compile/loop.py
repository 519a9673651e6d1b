"""Compiling loops: what a turn starts from, when it is the last, and which one counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.errors import StepError
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.step import evaluate
from rag.flow.constructs.loop import Loop
from rag.flow.expressions import Expression
from rag.flow.place import TURN, Place
from rag.flow.run.events import Event, LoopTurn, as_dict
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, merge, show

_SEEN = frozenset({"turn", "events"})


def build_loop(builder: Builder, node: Loop, scope: Scope, place: Place) -> Built:
    """A loop: the body, the condition, what comes between turns, at most `max_turns` times."""
    own = {}
    if node.history is not None:
        own[node.history] = Channel(list[dict[str, Any]], str(place))
    entry = _entry(builder, node, scope.after(own), place)
    body = builder.child(node, place, "", entry)
    end = body.after(entry)
    between = None
    if node.between is not None:
        between = builder.child(node, place, ".between", end)
    written = _written(body, between, place)
    _check(builder, node, body, written, place)
    until = None
    if node.until is not None:
        until = builder.expression(node, node.until, end, place, "until", _SEEN)
    carried = set(written) if node.carry is None else set(node.carry)
    writes: dict[str, Channel] = {**written, **own}
    if node.satisfied is not None:
        writes[node.satisfied] = Channel(bool, str(place))
    sure = {name for name, channel in body.writes.items() if not channel.optional}
    later = (until.names - _SEEN if until else frozenset()) | (between.reads if between else set())
    reads = (body.reads | (later - sure)) - {n for n in carried if n not in scope.channels}

    run_loop = _Turns(node, body, between, until, frozenset(carried), place)
    parts = [body] if between is None else [body, between]
    return Built(
        run_loop,
        writes,
        reads - set(own),
        {name: why for built in parts for name, why in built.removed.items()},
        waits=any(built.waits for built in parts),
        heavy=any(built.heavy for built in parts),
    )


def _written(body: Built, between: Built | None, place: Place) -> dict[str, Channel]:
    """What the loop writes; what only `between` writes is missing where there was one turn."""
    writes = dict(body.writes)
    for name, channel in (between.writes if between else {}).items():
        own = writes.get(name)
        if own is None or own.optional:
            kind = channel.type if own is None else merge([own.type, channel.type])
            why = f"{place} writes it from its second turn on"
            writes[name] = Channel(kind, channel.writer, why)
    return writes


def _check(
    builder: Builder, node: Loop, body: Built, written: Mapping[str, Channel], place: Place
) -> None:
    there = f"the body writes: {', '.join(body.writes) or 'nothing'}"
    for name in set(node.carry or ()) - set(written):
        builder.report(node, place, f"the body does not write {name!r}", "carry", there)
    if node.history in written:
        what = f"the body writes {node.history!r}, which is to hold the turns"
        builder.report(node, place, what, "history", "name another channel")
    if node.keep is not None:
        channel = body.writes.get(node.keep)
        if channel is None or channel.optional:
            builder.report(node, place, f"the body does not write {node.keep!r}", "keep", there)
        elif not fits(channel.type, float):
            what = f"{node.keep!r} is {show(channel.type)}, a number is wanted"
            builder.report(node, place, what, "keep", "name a channel with a score")
    if node.until is None and (node.satisfied is not None or node.on_max_turns == "fail"):
        field = "satisfied" if node.satisfied is not None else "on_max_turns"
        builder.report(node, place, "the loop has no condition", field, "add until: ...")


class _Turns:
    """The runner of a loop."""

    def __init__(
        self,
        node: Loop,
        body: Built,
        between: Built | None,
        until: Expression | None,
        carried: frozenset[str],
        place: Place,
    ) -> None:
        self._node, self._body, self._until = node, body.run, until
        self._between = None if between is None else between.run
        self._carried, self._place = carried, place
        self._listens = until is not None and "events" in until.names

    async def __call__(self, state: State, run: Run) -> dict[str, Any]:
        node, place, body, until = self._node, self._place, self._body, self._until
        keep, history, last = node.keep, node.history, node.max_turns
        start = dict(state)
        past: list[dict[str, Any]] = []
        carried: dict[str, Any] = {}
        best: dict[str, Any] | None = None
        held = False
        for turn in range(1, last + 1):
            if history is not None:
                start[history] = list(past)
            if run.emit is not None:
                run.notify(LoopTurn, place, turn=turn)
            here = run.counted(place, TURN, turn)
            heard: list[Event] = []
            wrote = await body(start, here.heard_by(heard.append) if self._listens else here)
            if history is not None:
                past.append(wrote)
            if until is not None:
                after = {**start, **wrote, "turn": turn}
                if history is not None:
                    after[history] = list(past)
                held = (
                    await self._holds(until, after, here, heard)
                    if self._listens
                    else bool(evaluate(until, after, here, place))
                )
            # NaN equals nothing, and loses against any number.
            if keep is not None and (
                best is None or wrote[keep] > best[keep] or best[keep] != best[keep]
            ):
                best = wrote
            if held or turn == last:
                break
            if self._between is not None:
                wrote = {**wrote, **await self._between({**start, **wrote}, here)}
                if history is not None:
                    past[-1] = wrote
            kept = wrote
            if node.carry is not None:
                kept = {n: value for n, value in wrote.items() if n in self._carried}
            carried.update(kept)
            start.update(kept)
        result = {**carried, **wrote} if best is None else dict(best)
        return self._ended(result, past, held, run.at(place))

    def _ended(
        self, result: dict[str, Any], past: list[dict[str, Any]], held: bool, where: Place
    ) -> dict[str, Any]:
        """What leaves the loop, with the channels that tell of its turns."""
        node = self._node
        if node.on_max_turns == "fail" and not held:
            what = f"the condition does not hold after {node.max_turns} turns"
            fix = "raise max_turns, or let on_max_turns: continue"
            raise StepError(what, where=str(where), fix=fix, place=where)
        if node.history is not None:
            result[node.history] = past
        if node.satisfied is not None:
            result[node.satisfied] = held
        return result

    async def _holds(
        self, until: Expression, after: dict[str, Any], run: Run, heard: list[Event]
    ) -> bool:
        """Whether a condition over the turn's events holds after it."""
        place = self._place
        # A resumed run does not hear the events of recalled steps: the verdict is recorded.
        where, kinds = run.at(place).below(".until"), {"until": bool}
        if run.journal is not None and not (run.trail and run.trail.fresh):
            found = await run.journal.recall(where, kinds, until.text)
            if found is not None:
                return bool(found["until"])
        after["events"] = [as_dict(event) for event in heard]
        held = bool(evaluate(until, after, run, place))
        if run.journal is not None:
            await run.journal.record(where, kinds, {"until": held}, 0.0, until.text)
        return held


def _entry(builder: Builder, node: Loop, scope: Scope, place: Place) -> Scope:
    """The scope that every turn starts from: what was there before, and what is carried."""
    entry = scope
    # A turn may widen what the next one starts with; the types settle after a few rounds.
    for _ in range(4):
        body = builder.quietly(node, place, "", entry)
        wrote = dict(body.writes)
        if node.between is not None:
            # Of a channel that both write, the next turn starts with what came last.
            between = builder.quietly(node, place, ".between", body.after(entry))
            wrote = dict(body.after(Scope({})).channels)
            wrote = dict(between.after(Scope(wrote)).channels)
        carried = wrote if node.carry is None else {n: wrote[n] for n in node.carry if n in wrote}
        changed = {}
        for name, channel in carried.items():
            old = scope.channels.get(name)
            kind = channel.type if old is None else merge([old.type, channel.type])
            known = entry.channels.get(name)
            if known is None or not fits(kind, known.type):
                why = f"it is there from the second turn of {place} on"
                optional = (why if old is None else old.optional) or ""
                changed[name] = Channel(kind, channel.writer, optional)
        if not changed:
            break
        entry = Scope({**entry.channels, **changed}, entry.removed)
    return entry
