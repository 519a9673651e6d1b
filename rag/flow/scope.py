"""Which channels there are at a point of a flow, and of which type: the build's knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rag.flow.types import merge
from rag.names import nearest


@dataclass(frozen=True, slots=True)
class Channel:
    """What is known of a channel at a point.

    Args:
        type: The type of its values.
        writer: Who wrote it: the place of a node as text, or `inputs`.
        optional: Why it may be missing; "" if it is there.
    """

    type: Any
    writer: str
    optional: str = ""

    def maybe(self, why: str) -> Channel:
        """The same channel where it may be missing."""
        return self if self.optional else replace(self, optional=why)


Channels = Mapping[str, Channel]


@dataclass(frozen=True)
class Scope:
    """The channels at a point, and what became of those that cannot be read there."""

    channels: Channels
    removed: Mapping[str, str] = field(default_factory=dict)
    """Channel to why it cannot be read here."""

    def after(self, written: Channels, removed: Mapping[str, str] | None = None) -> Scope:
        """The scope behind a node.

        Args:
            written: The channels that the node writes; an optional one leaves what was there.
            removed: Channels of the node's inside that cannot be read here, with the reason.
        """
        channels = dict(self.channels)
        for name, channel in written.items():
            old = channels.get(name)
            if channel.optional and old is not None:
                kind = merge([old.type, channel.type])
                writer = f"{old.writer} or {channel.writer}"
                channel = Channel(kind, writer, old.optional)  # noqa: PLW2901
            channels[name] = channel
        gone = {**self.removed, **(removed or {})}
        return Scope(channels, {name: why for name, why in gone.items() if name not in channels})

    def suggestion(self, name: str) -> str:
        """A fix for a channel that is not there."""
        there = ", ".join(sorted(self.channels)) or "nothing"
        near = nearest(name, self.channels)
        return f"did you mean {near!r}? there are: {there}" if near else f"there are: {there}"


def written_after_one_of(branches: Mapping[str, Channels], node: str) -> dict[str, Channel]:
    """What is written behind a node that runs exactly one of several branches.

    A channel that only some branches write is optional afterwards.

    Args:
        branches: Branch name to what it writes.
        node: The node's place, for messages.
    """
    names = dict.fromkeys(name for written in branches.values() for name in written)
    result: dict[str, Channel] = {}
    for name in names:
        found = [written[name] for written in branches.values() if name in written]
        missing = [branch for branch, written in branches.items() if name not in written]
        why = next((channel.optional for channel in found if channel.optional), "")
        if missing:
            why = f"{node} does not write it on every path: not in {', '.join(missing)}"
        writer = " or ".join(dict.fromkeys(channel.writer for channel in found))
        result[name] = Channel(merge(channel.type for channel in found), writer, why)
    return result
