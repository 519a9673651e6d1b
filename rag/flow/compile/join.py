"""Compiling joins: what many branches wrote, made one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.node import Node, walk
from rag.flow.operator import Operator
from rag.flow.place import Place
from rag.flow.run.run import Run, State
from rag.flow.scope import Channel, Channels, Scope
from rag.flow.types import fits, is_union, merge


@dataclass(frozen=True)
class Join:
    """Collects what branches wrote, and runs the join.

    Args:
        built: The compiled join.
        lists: The channels that arrive as lists.
        dicts: The channels that arrive as mappings from the branch's name.
        reads: The channels of the scope before the branches that the join reads.
        removed: Why what branches wrote cannot be read behind the join.
    """

    built: Built
    lists: tuple[str, ...]
    dicts: tuple[str, ...]
    reads: frozenset[str]
    removed: Mapping[str, str]

    async def run(
        self, state: State, run: Run, ends: list[tuple[str, dict[str, Any]]]
    ) -> dict[str, Any]:
        """What the join writes.

        Args:
            state: The channels before the branches.
            run: The run.
            ends: Branch name to what it wrote, in order.
        """
        seen = dict(state)
        for name in self.lists:
            seen[name] = [wrote[name] for _, wrote in ends if name in wrote]
        for name in self.dicts:
            seen[name] = {branch: wrote[name] for branch, wrote in ends if name in wrote}
        return await self.built.run(seen, run)


def build_join(
    builder: Builder,
    node: Any,
    place: Place,
    scope: Scope,
    branches: Iterable[Channels],
) -> Join:
    """Compile a join: the parameters' types decide what arrives collected.

    Args:
        builder: The builder.
        node: The construct with the join.
        place: Its place.
        scope: The channels before the branches.
        branches: What each branch writes.
    """
    written: dict[str, list[Channel]] = {}
    for writes in branches:
        for name, channel in writes.items():
            written.setdefault(name, []).append(channel)
    wanted = _wanted(node.join)
    lists, dicts = [], []
    collected: dict[str, Channel] = {}
    for name, channels in written.items():
        kind = merge(channel.type for channel in channels)
        asked = wanted.get(name, Any)
        before = scope.channels.get(name)
        if _is_dict(asked):
            dicts.append(name)
            collected[name] = Channel(dict[str, kind], str(place))  # type: ignore[valid-type]
        elif before is None or fits(list[kind], asked) or not fits(before.type, asked):  # type: ignore[valid-type]
            lists.append(name)
            collected[name] = Channel(list[kind], str(place))  # type: ignore[valid-type]
    built = builder.child(node, place, ".join", scope.after(collected))
    leaving = ", ".join(built.writes) or "nothing"
    removed = {
        name: f"what branches of {place} write stays inside; its join writes {leaving}"
        for name in written
        if name not in built.writes and name not in scope.channels
    }
    return Join(built, tuple(lists), tuple(dicts), built.reads - set(collected), removed)


def _wanted(join: Node) -> dict[str, Any]:
    """Channel to type, of what the first steps of the join read."""
    wanted: dict[str, Any] = {}
    for _, node in walk(join):
        if isinstance(node, Operator):
            for port in node.signature().reads:
                wanted.setdefault(node.inputs.get(port.name, port.name), port.type)
    return wanted


def _is_dict(kind: Any) -> bool:
    if is_union(kind):
        return any(_is_dict(one) for one in get_args(kind) if one is not type(None))
    return (get_origin(kind) or kind) is dict
