"""The builder: what the builds of the constructs share, and the problems that they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.errors import BuildError, ConfigError, RagError
from rag.flow.compile.built import Built, Compiled
from rag.flow.expressions import Expression
from rag.flow.node import Node, place_of, root_of
from rag.flow.operator import Operator
from rag.flow.place import Place, segment
from rag.flow.resources import Resource, Resources, kind_of, parse, well_known
from rag.flow.run.run import Runner
from rag.flow.scope import Channel, Scope
from rag.flow.types import fits, show
from rag.names import suggestion

Positions = Mapping[int, str]
"""`id(node)` to the position in a file that it was read from."""

MAX_NESTING = 200
"""Nodes inside each other at most; more would exceed Python's own stack."""


Build = Callable[["Builder", Any, Scope, Place], Built]
"""Checks and compiles a node of one kind, for a scope and at a place."""


@dataclass
class _Shared:
    """What the builders of a flow and of its inner flows share."""

    problems: list[RagError] = field(default_factory=list)
    interrupts: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[Place, Operator] = field(default_factory=dict)
    bound: list[tuple[Place, str, type[Resource]]] = field(default_factory=list)


class Builder:
    """Builds one flow.

    Args:
        builds: Kind of node to its build.
        inputs: The flow's inputs, channel to type.
        defaults: The values of inputs that may be left out.
        outputs: The flow's outputs; None: it names none.
        resources: The flow's resources.
        positions: Where nodes are in a file, for messages.
        root: The place of the flow in the one that is built.
        outer: The builder of the flow around it.
    """

    def __init__(
        self,
        builds: Mapping[type[Node], Build],
        *,
        inputs: Mapping[str, Any],
        defaults: Mapping[str, Any],
        outputs: tuple[str, ...] | None,
        resources: Resources,
        positions: Positions | None = None,
        root: Place = Place(),
        outer: Builder | None = None,
    ) -> None:
        self._builds = builds
        self._positions = positions or {}
        self.inputs, self.defaults, self.outputs, self.root = inputs, defaults, outputs, root
        self.resources, self._outer = resources, outer
        self._shared: _Shared = _Shared() if outer is None else outer._shared
        self._nesting: int = 0 if outer is None else outer._nesting
        self._silent: bool = outer is not None and outer._silent
        self._known: dict[tuple[int, Place], list[tuple[Scope, Built]]] = (
            {} if outer is None else outer._known
        )
        """What was built for knowledge only: node and place to scope and result."""
        self._used: set[str] = set()
        self.promised: list[tuple[Node, Place, str, Any]] = []
        """Of each recursion: node, place, output of the flow, type that is counted on."""
        self.whole: Runner | None = None
        """The flow's runner, once it is built: what a recursion runs."""

    # Building

    def build(self, node: Node, scope: Scope, place: Place) -> Built:
        """Check and compile `node`; problems are collected."""
        self._nesting += 1
        try:
            if self._nesting > MAX_NESTING:
                self.report(node, place, f"more than {MAX_NESTING} nodes inside each other")
                raise BuildError(self._shared.problems)
            for kind in type(node).__mro__:
                if kind in self._builds:
                    return self._builds[kind](self, node, scope, place)
            raise TypeError(f"{type(node).__name__} is no construct")
        finally:
            self._nesting -= 1

    def child(self, parent: Node, place: Place, edge: str, scope: Scope) -> Built:
        """Check and compile a child of a node."""
        if self._silent:
            return self.quietly(parent, place, edge, scope)
        node = parent.children()[edge]
        return self.build(node, scope, place_of(parent, place, edge, node))

    def branches(
        self, parent: Node, place: Place, named: Mapping[str, Node], scope: Scope
    ) -> dict[str, Built]:
        """Check and compile the branches of a node, each for the same scope.

        Args:
            parent: The node.
            place: Its place.
            named: Name to branch.
            scope: The channels before the branches.
        """
        return {
            name: self.build(branch, scope, place_of(parent, place, segment(name), branch))
            for name, branch in named.items()
        }

    def quietly(self, parent: Node, place: Place, edge: str, scope: Scope) -> Built:
        """Build a child for knowledge only: its problems are found by the build that counts.

        Once for each scope: loops inside loops would be built twice at every level.
        """
        node = parent.children()[edge]
        known = self._known.setdefault((id(node), place), [])
        for seen, built in known:
            if seen == scope:
                return built
        before = self._shared, self._silent
        self._shared, self._silent = _Shared(), True
        try:
            built = self.build(node, scope, place_of(parent, place, edge, node))
        finally:
            self._shared, self._silent = before
        known.append((scope, built))
        return built

    def inner(self, flow: Any, place: Place) -> tuple[Builder, Built]:
        """Check and compile a flow inside this one."""
        builder = Builder(
            self._builds,
            inputs=flow.inputs,
            defaults=flow.defaults,
            outputs=flow.outputs,
            resources=flow.resources,
            positions={**self._positions, **flow.positions},
            root=place,
            outer=self,
        )
        scope = Scope({n: Channel(kind, "inputs") for n, kind in flow.inputs.items()})
        built = builder.build(flow.node, scope, root_of(flow.node, place))
        builder.close(flow, built)
        return builder, built

    # Problems

    def report(
        self, node: Node, place: Place, what: str, port: str | None = None, fix: str | None = None
    ) -> None:
        """Add a problem."""
        position = self._positions.get(id(node))
        where = " ".join(filter(None, (position, str(place), f"({port})" if port else None)))
        self._shared.problems.append(ConfigError(what, where=where or None, fix=fix))

    def expression(
        self,
        node: Node,
        text: str,
        scope: Scope,
        place: Place,
        port: str,
        extra: frozenset[str] = frozenset(),
    ) -> Expression | None:
        """The expression, its names checked; None if it is none."""
        try:
            expression = Expression(text)
        except ConfigError as error:
            self.report(node, place, error.what, port, error.fix)
            return None
        for name in sorted(expression.names - extra):
            channel = scope.channels.get(name)
            if channel is None or channel.optional:
                why = scope.removed.get(name) or (channel and channel.optional)
                what = f"{text!r} reads {name!r}: {why or 'nothing upstream writes it'}"
                there = {**scope.channels, **dict.fromkeys(extra)}
                fix = suggestion(name, there, label="there are")
                self.report(node, place, what, port, fix)
            elif name in expression.measured and fits(channel.type, int | float | bool | None):
                what = f"{text!r} takes the length of {name!r}, which is {show(channel.type)}"
                self.report(node, place, what, port, "compare the value itself")
        return expression

    def missing_channel(
        self, node: Node, place: Place, name: str, scope: Scope, port: str
    ) -> Channel | None:
        """The channel that a construct names; a problem if it may be missing."""
        channel = scope.channels.get(name)
        if channel is not None and not channel.optional:
            return channel
        why = scope.removed.get(name) or (channel and channel.optional)
        what = f"{name!r} cannot be read here: {why}" if why else f"nothing writes {name!r}"
        self.report(node, place, what, port, scope.suggestion(name))
        return channel

    # What is found on the way

    def found_step(self, place: Place, operator: Operator) -> None:
        """Note a step."""
        self._shared.steps[place] = operator

    def found_interrupt(self, place: Place, edited: Mapping[str, Any]) -> None:
        """Note a node that pauses the run, with the channels that may be edited there."""
        self._shared.interrupts[str(place)] = dict(edited)

    def bind(
        self, node: Node, place: Place, parameter: str, name: str, kind: type[Resource]
    ) -> None:
        """Check that a step's resource can be there, and that its specification is right."""
        holder = self.use(name)
        self._shared.bound.append((place, name, kind))
        self._bind_needs(node, place, name, kind, holder)
        if holder is None:
            if name != parameter:
                names = self.named()
                what = f"the flow has no resource {name!r}, which {parameter!r} is bound to"
                self.report(node, place, what, "resources", suggestion(name, names))
            return
        spec = holder.resources.specs[name]
        if isinstance(spec, Resource) and not kind.takes(spec):
            what = f"the resource {name!r} is {type(spec).__name__}, {kind.__name__} is wanted"
            self.report(node, place, what, parameter, "bind another: resources: {...}")
        elif not isinstance(spec, Resource):
            holder._check_spec(name, kind, spec)

    def _bind_needs(
        self, node: Node, place: Place, name: str, kind: type[Resource], holder: Builder | None
    ) -> None:
        """Check what a step's resource takes of the flow itself."""
        resources = (holder or self).resources
        spec = resources.specs.get(name, kind.default)
        try:
            needs = {} if spec is None else kind.needs(spec, base=resources.base)
        except ConfigError as error:
            (holder or self)._wrong_spec(name, error)
            return
        for inner, its_kind in needs.items():
            self.bind(node, place, inner, inner, its_kind)

    def named(self) -> list[str]:
        """The names of resources that the flow, or a flow around it, gives."""
        outer = [] if self._outer is None else self._outer.named()
        return [*self.resources.specs, *outer]

    def use(self, name: str) -> Builder | None:
        """Note that a resource is used; the builder of the flow that gives it, if one does."""
        holder: Builder | None = self
        while holder is not None and name not in holder.resources.specs:
            holder = holder._outer
        (holder or self)._used.add(name)
        return holder

    def resources_below(self, place: Place) -> tuple[tuple[str, type[Resource]], ...]:
        """Name and kind of the resources that the steps at a place and below take."""
        found = {
            (name, kind): None for where, name, kind in self._shared.bound if where.is_within(place)
        }
        return tuple(found)

    def _check_spec(self, name: str, kind: type[Resource], spec: Any) -> None:
        try:
            parse(kind, spec)
        except ConfigError as error:
            self._wrong_spec(name, error)

    def _wrong_spec(self, name: str, error: ConfigError) -> None:
        where = self._positions.get(id(self.resources)) or "resources"
        where = f"{where}.{name}" if where == "resources" else f"{where} resources.{name}"
        self._shared.problems.append(ConfigError(error.what, where=where, fix=error.fix))

    # Ending

    def close(self, flow: Node, built: Built) -> None:
        """Check what could be known in the end only."""
        scope = built.after(Scope({n: Channel(k, "inputs") for n, k in self.inputs.items()}))
        for name in self.outputs or ():
            channel = scope.channels.get(name)
            if channel is None:
                why = scope.removed.get(name) or f"nothing writes {name!r}"
                self.report(flow, self.root.below("outputs"), why, name, scope.suggestion(name))
        for node, place, output, kind in self.promised:
            channel = scope.channels.get(output)
            if channel is not None and not fits(channel.type, kind):
                what = f"the flow's {output!r} is {show(channel.type)}, base's {show(kind)}"
                self.report(node, place, what, output, "let base write what the flow writes")
        known = (*self._used, *well_known())
        for name, spec in self.resources.specs.items():
            if name in self._used:
                continue
            kind = kind_of(name)
            if kind is not None:
                self._check_spec(name, kind, spec)
            elif not isinstance(spec, Resource):
                what = f"no step uses the resource {name!r}"
                fix = suggestion(name, known) + "; a step may bind it: resources: {llm: " + name
                where = self._positions.get(id(self.resources)) or "resources"
                self._shared.problems.append(ConfigError(what, where=where, fix=fix + "}"))
        self.whole = built.run

    def finish(self, flow: Node, built: Built) -> Compiled:
        """The flow, ready to run.

        Raises:
            BuildError: There were problems; all of them.
        """
        self.close(flow, built)
        shared = self._shared
        if shared.problems:
            raise BuildError(_unique(shared.problems))
        scope = built.after(Scope({n: Channel(k, "inputs") for n, k in self.inputs.items()}))
        return Compiled(
            built.run,
            scope.channels,
            built.waits,
            shared.interrupts,
            shared.steps,
            tuple(dict.fromkeys(shared.bound)),
        )


def _unique(problems: list[RagError]) -> list[RagError]:
    return list({str(problem): problem for problem in problems}.values())
