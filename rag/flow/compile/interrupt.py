"""Compiling pauses for human approval."""

from __future__ import annotations

from typing import Any

from rag.errors import Interrupted, Stop
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.constructs.interrupt import Interrupt
from rag.flow.place import Place
from rag.flow.run.events import Reused
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope


def build_interrupt(builder: Builder, node: Interrupt, scope: Scope, place: Place) -> Built:
    """A pause that ends the run until it is resumed, with the channels that may be edited."""
    kinds: dict[str, Any] = {}
    for port, names in (("show", node.show), ("edit", node.edit)):
        for name in names:
            channel = builder.missing_channel(node, place, name, scope, port)
            if channel is not None:
                kinds[name] = channel.type
    edited = {name: kind for name, kind in kinds.items() if name in node.edit}
    if node.answer is not None:
        edited[node.answer] = kinds[node.answer] = bool
    builder.found_interrupt(place, edited)

    async def run_interrupt(state: State, run: Run) -> dict[str, Any]:
        where, journal = run.at(place), run.journal
        fresh = run.trail is not None and run.trail.fresh
        found = None
        if journal is not None and not fresh:
            found = await journal.recall(where, edited, "")
        if found is None:
            # Who just goes on has approved.
            channels = {name: name == node.answer or state[name] for name in kinds}
            raise Interrupted([Stop(where, str(place), node.message, channels, kinds)])
        run.notify(Reused, place, writes=found, source="checkpoint")
        return found

    writes = {name: Channel(kind, str(place)) for name, kind in edited.items()}
    return Built(run_interrupt, writes, frozenset(kinds) - {node.answer})
