"""What compiling gives: of a node, and of a whole flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.flow.operator import Operator
from rag.flow.place import Place
from rag.flow.resources import Resource
from rag.flow.run.run import Runner
from rag.flow.scope import Channels, Scope


@dataclass(frozen=True)
class Built:
    """A compiled node.

    Args:
        run: The runner.
        writes: The channels that it promises to write; the optional ones it may.
        reads: The channels of the scope that it reads.
        removed: Channels written inside that cannot be read behind it, with the reason.
        waits: Whether it may wait for something: only then does it need an event loop.
        heavy: Whether it calls plain functions that may take long: beside others, or on an
            event loop, they get threads.
    """

    run: Runner
    writes: Channels
    reads: frozenset[str]
    removed: Mapping[str, str] = field(default_factory=dict)
    waits: bool = False
    heavy: bool = False

    def after(self, scope: Scope) -> Scope:
        """The scope behind the node."""
        return scope.after(self.writes, self.removed)


@dataclass(frozen=True)
class Compiled:
    """A flow that fits together.

    Args:
        run: Its runner.
        writes: The channels in the end.
        waits: Whether it needs an event loop.
        interrupts: Place of each node that pauses the run, as text, to the channels that may be
            edited there and their types.
        steps: Place to operator.
        needs: Place, name and kind of each resource that a step takes.
    """

    run: Runner
    writes: Channels
    waits: bool
    interrupts: Mapping[str, Mapping[str, Any]]
    steps: Mapping[Place, Operator]
    needs: tuple[tuple[Place, str, type[Resource]], ...]
