"""Which channels there are at a point of a flow, and of which type: the build's knowledge."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.flow.types import merge


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """What is known of a channel; two are the same if they are one object: one writing."""

    type: Any
    writer: str
    """The path of the node that wrote it, or `inputs`."""
    maybe: bool = False
    """There only from a loop's second turn on."""


@dataclass(frozen=True)
class Scope:
    """The channels at a point, and what became of those that are no longer there."""

    channels: Mapping[str, Channel]
    gone: Mapping[str, str] = field(default_factory=dict)
    """Channel to why it cannot be read here."""

    def with_channels(self, channels: Mapping[str, Channel]) -> Scope:
        """This scope after `channels` were written."""
        gone = {name: why for name, why in self.gone.items() if name not in channels}
        return Scope({**self.channels, **channels}, gone)

    def losing(self, lost: Mapping[str, str]) -> Scope:
        """This scope, remembering of channels that are not in it why they are not."""
        lost = {name: why for name, why in lost.items() if name not in self.channels}
        return Scope(self.channels, {**self.gone, **lost})

    def written_since(self, before: Scope) -> dict[str, Channel]:
        """The channels written between `before` and here."""
        return {
            name: channel
            for name, channel in self.channels.items()
            if before.channels.get(name) is not channel
        }

    def nearest(self, name: str) -> str | None:
        """The channel whose name is most like `name`."""
        found = difflib.get_close_matches(name, self.channels, n=1, cutoff=0.5)
        return found[0] if found else None


def common(before: Scope, ends: Mapping[str, Scope], node: str) -> Scope:
    """The scope after exactly one of several branches ran.

    Args:
        before: The scope that all branches started from.
        ends: Branch name to the scope at its end.
        node: The path of the node, for messages.
    """
    names = {name for end in ends.values() for name in end.written_since(before)}
    channels, lost = dict(before.channels), {}
    for name in sorted(names):
        found = [end.channels.get(name) for end in ends.values()]
        if all(channel is not None for channel in found):
            present = [channel for channel in found if channel is not None]
            channels[name] = Channel(
                merge(channel.type for channel in present),
                " or ".join(dict.fromkeys(channel.writer for channel in present)),
                any(channel.maybe for channel in present),
            )
        else:
            missing = [case for case, end in ends.items() if name not in end.channels]
            lost[name] = f"{node} does not write it on every path: not in {', '.join(missing)}"
    return Scope(channels, {**before.gone, **lost})
