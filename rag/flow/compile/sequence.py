"""Compiling sequences: the one place where what nodes write becomes what later ones read."""

from __future__ import annotations

from typing import Any

from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.node import Sequence, place_of
from rag.flow.place import Place
from rag.flow.run.run import Run, Runner, State
from rag.flow.scope import Channel, Scope


def build_sequence(builder: Builder, node: Sequence, scope: Scope, place: Place) -> Built:
    """Nodes in order, each over the channels that the ones before left."""
    runners: list[Runner] = []
    writes: dict[str, Channel] = {}
    reads: set[str] = set()
    removed: dict[str, str] = {}
    waits = heavy = False
    for edge, child in node.children().items():
        built = builder.build(child, scope, place_of(node, place, edge, child))
        runners.append(built.run)
        waits, heavy = waits or built.waits, heavy or built.heavy
        reads |= built.reads - {n for n, c in writes.items() if not c.optional}
        removed = {n: w for n, w in removed.items() if n not in built.writes} | dict(built.removed)
        scope = built.after(scope)
        for name, channel in built.writes.items():
            # Optional behind the sequence only if nothing in it wrote the channel for certain.
            old = writes.get(name)
            sure = not channel.optional or (old is not None and not old.optional)
            now = scope.channels[name]
            writes[name] = Channel(now.type, now.writer, "" if sure else channel.optional)

    async def run_sequence(state: State, run: Run) -> dict[str, Any]:
        wrote: dict[str, Any] = {}
        here = dict(state)
        for runner in runners:
            new = await runner(here, run)
            here.update(new)
            wrote.update(new)
        return wrote

    return Built(run_sequence, writes, frozenset(reads), removed, waits, heavy)
