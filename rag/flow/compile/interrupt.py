"""Building the stops for a person."""

from __future__ import annotations

from rag.errors import Interrupted
from rag.flow.compile.builder import Builder, Built
from rag.flow.constructs import Interrupt
from rag.flow.run.events import Reused
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Scope


def build_interrupt(builder: Builder, node: Interrupt, scope: Scope, path: str) -> Built:
    """A stop that ends the run until it is resumed, with the channels that may be edited."""
    here = f"{path}.{node.name or 'interrupt'}"
    for port, names in (("show", node.show), ("edit", node.edit)):
        for name in names:
            channel = scope.channels.get(name)
            if channel is None or channel.maybe:
                near = scope.nearest(name)
                fix = f"did you mean {near!r}? " if near else ""
                fix += f"there are: {', '.join(sorted(scope.channels))}"
                builder.report(node, here, f"nothing upstream writes {name!r}", port, fix)
    kinds = {n: scope.channels[n].type for n in (*node.show, *node.edit) if n in scope.channels}
    edited = {name: kind for name, kind in kinds.items() if name in node.edit}
    builder.interrupts[here] = edited

    async def run_interrupt(state: State, run: Run) -> None:
        journal = run.journal
        place = run.place + here
        found = None if journal is None else journal.recall(place, edited)
        if found is None:
            channels = {name: state[name] for name in kinds}
            raise Interrupted(node.message, where=here, place=place, channels=channels, kinds=kinds)
        state.update(found)
        if run.emit is not None:
            run.emit(Reused(here, found, "checkpoint"))

    channels = {name: Channel(kind, here) for name, kind in edited.items()}
    return Built(run_interrupt, scope.with_channels(channels), suspends=False)
