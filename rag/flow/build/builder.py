"""The builder: what the constructs' builds share, and the problems that they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rag.errors import BuildError, ConfigError, RagError
from rag.flow.expressions import Expression
from rag.flow.node import Node
from rag.flow.run import Runner
from rag.flow.scope import Scope

Positions = Mapping[int, str]
"""`id(node)` to the place in a file that it was read from."""


@dataclass(frozen=True)
class Built:
    """A compiled node and the channels after it."""

    run: Runner
    scope: Scope
    suspends: bool
    """Whether it may wait for something: only then does it need an event loop and tasks."""


Build = Callable[["Builder", Any, Scope, str], Built]
"""Checks and compiles a node of one kind, for a scope and at a path."""


class Builder:
    """Builds one flow.

    Args:
        builds: Kind of node to its build.
        positions: Where nodes stand in a file, for messages.
    """

    def __init__(
        self, builds: Mapping[type[Node], Build], positions: Positions | None = None
    ) -> None:
        self._builds = builds
        self._positions = positions or {}
        self.problems: list[RagError] = []

    def build(self, node: Node, scope: Scope, path: str) -> Built:
        """Check and compile `node`; problems are added to `problems`."""
        for kind in type(node).__mro__:
            if kind in self._builds:
                return self._builds[kind](self, node, scope, path)
        raise TypeError(f"{type(node).__name__} is no construct")

    def quiet(self, node: Node, scope: Scope, path: str) -> Built:
        """Build for knowledge only: the problems are found again by the build that counts."""
        return Builder(self._builds).build(node, scope, path)

    def report(self, node: Node, path: str, what: str, port: str | None, fix: str | None) -> None:
        """Add a problem."""
        place = self._positions.get(id(node))
        where = " ".join(filter(None, (place, path, f"({port})" if port else None)))
        self.problems.append(ConfigError(what, where=where, fix=fix))

    def expression(
        self, node: Node, text: str, scope: Scope, here: str, port: str, extra: frozenset[str]
    ) -> Expression | None:
        """The expression, its names checked; None if it is none."""
        try:
            expression = Expression(text)
        except ConfigError as error:
            self.report(node, here, error.what, port, error.fix)
            return None
        for name in sorted(expression.names - extra):
            channel = scope.channels.get(name)
            if channel is None or channel.maybe:
                near = scope.nearest(name)
                there = ", ".join(sorted({*scope.channels, *extra}))
                fix = (
                    f"did you mean {near!r}? there are: {there}" if near else f"there are: {there}"
                )
                why = scope.gone.get(name)
                what = f"{text!r} asks for {name!r}: {why or 'nothing upstream writes it'}"
                self.report(node, here, what, port, fix)
        return expression

    def check(self) -> None:
        """Raise what was found, all of it."""
        if self.problems:
            raise BuildError(self.problems)
