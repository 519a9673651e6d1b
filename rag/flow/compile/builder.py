"""The builder: what the constructs' builds share, and the problems that they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rag.errors import BuildError, ConfigError, RagError
from rag.flow.expressions import Expression
from rag.flow.node import Node
from rag.flow.run.run import Runner
from rag.flow.scope import Scope
from rag.flow.types import fits, show

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
        inputs: The flow's inputs, channel to type.
        outputs: The flow's outputs; None: it names none.
    """

    def __init__(
        self,
        builds: Mapping[type[Node], Build],
        positions: Positions | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> None:
        self._builds = builds
        self._positions = positions or {}
        self.inputs = inputs or {}
        self.outputs = outputs
        self.problems: list[RagError] = []
        self.interrupts: dict[str, dict[str, Any]] = {}
        """The paths of the nodes that stop a run for a person, each with what may be edited."""
        self.promised: list[tuple[Node, str, str, Any]] = []
        """Of each recursion: node, path, output of the flow, type that is counted on."""
        self.whole: Runner | None = None
        """The flow's runner, once it is built: what a recursion runs."""

    def build(self, node: Node, scope: Scope, path: str) -> Built:
        """Check and compile `node`; problems are added to `problems`."""
        for kind in type(node).__mro__:
            if kind in self._builds:
                return self._builds[kind](self, node, scope, path)
        raise TypeError(f"{type(node).__name__} is no construct")

    def quiet(self, node: Node, scope: Scope, path: str) -> Built:
        """Build for knowledge only: the problems are found again by the build that counts."""
        other = Builder(self._builds, None, self.inputs, self.outputs)
        return other.build(node, scope, path)

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
            elif name in expression.measured and fits(channel.type, int | float | bool | None):
                what = f"{text!r} asks for the length of {name!r}, which is {show(channel.type)}"
                self.report(node, here, what, port, "compare the value itself")
        return expression

    def finish(self, flow: Node, built: Built) -> None:
        """Check what could be known in the end only, and raise all that was found."""
        for wrong in [n for n in self.outputs or () if n not in built.scope.channels]:
            near = built.scope.nearest(wrong)
            there = ", ".join(sorted(built.scope.channels))
            fix = f"did you mean {near!r}? there are: {there}" if near else f"there are: {there}"
            gone = built.scope.gone.get(wrong)
            self.report(flow, "outputs", gone or f"nothing writes {wrong!r}", wrong, fix)
        for node, path, output, kind in self.promised:
            channel = built.scope.channels.get(output)
            if channel is not None and not fits(channel.type, kind):
                what = f"the flow's {output!r} is {show(channel.type)}, base's {show(kind)}"
                self.report(node, path, what, output, "let base write what the flow writes")
        self.whole = built.run
        if self.problems:
            raise BuildError(self.problems)
