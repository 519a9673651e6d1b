"""What a flow needs and is not there: resources that nobody names, or that cannot be opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from rag.errors import BuildError, ConfigError, RagError
from rag.flow.constructs.race import Race
from rag.flow.constructs.subflow import SubFlow
from rag.flow.node import Node
from rag.flow.place import Place
from rag.flow.resources import Resource, Resources

Need = tuple[Place, str, type[Resource]]
"""A step's place, and the name and kind of a resource that it takes."""


class Needy(Protocol):
    """What is looked at of a flow."""

    resources: Resources
    needs: tuple[Need, ...]

    def walk(self) -> Iterator[tuple[Place, Node]]:
        """All nodes with their places."""


def absent(flow: Needy) -> list[RagError]:
    """Why resources that the steps take cannot be opened now, found without opening them."""
    return [error for error, _ in _found(flow)]


def check(flow: Needy) -> bool:
    """See that what the steps take can be opened.

    A step whose failure is caught (by a fallback, or a branch that may fail) may lack it, and a
    resource that some steps write and others read may come to be while the flow runs.

    Returns:
        Whether everything is there, so that it need not be looked at again.

    Raises:
        RagError: A resource is not there: a ConfigError, or what opening it would raise.
        BuildError: Several are not; it holds all of them.
    """
    found = _found(flow)
    if not found:
        return True
    caught = [place for place, node in flow.walk() if _catches(node)]
    wanted = _kinds(flow.needs)
    errors = [
        error
        for error, needs in found
        if any(_special(wanted[name]) and not _is_within(place, caught) for place, name, _ in needs)
    ]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BuildError(errors)
    return False


def kinds_of(needs: Iterable[Need]) -> dict[str, type[Resource]]:
    """Name to kind of what steps take: of classes one above the other, the one below."""
    return {name: _special(found) or found[-1] for name, found in _kinds(needs).items()}


def needed(flow: Needy) -> dict[str, type[Resource]]:
    """Name to kind of the resources that a flow takes, and none of its inner flows gives."""
    inner = _inner(flow)
    return kinds_of(
        (place, name, kind)
        for place, name, kind in flow.needs
        if not any(place.is_within(at) and name in one.specs for at, one in inner)
    )


def inherited(flow: Needy) -> dict[str, type[Resource]]:
    """Name to kind of the resources that a flow takes, and neither it nor its inner flows give."""
    return {name: kind for name, kind in needed(flow).items() if name not in flow.resources.specs}


def opening(flow: Needy) -> Iterator[tuple[str, type[Resource], Exception | None]]:
    """Open what the steps take, one after another: name, kind, and why it cannot be opened."""
    for holder, name, kind, _ in _holders(flow):
        try:
            holder.get(name, kind)
        except Exception as error:  # noqa: BLE001 - of any library that opens something
            yield name, kind, error
        else:
            yield name, kind, None


def _found(flow: Needy) -> list[tuple[RagError, list[Need]]]:
    """Each error once, with the steps that it concerns."""
    found = []
    for holder, name, kind, those in _holders(flow):
        spec = holder.specs.get(name, kind.default)
        error = _error(name, kind, spec, holder, those)
        if error is not None:
            found.append((error, those))
    return found


def _holders(flow: Needy) -> list[tuple[Resources, str, type[Resource], list[Need]]]:
    """What the steps take: whose it is, its name and kind, and the steps."""
    needs: dict[tuple[int, str, type[Resource]], list[Need]] = {}
    holders: dict[int, Resources] = {}
    inner = _inner(flow)
    for need in flow.needs:
        place, name, kind = need
        holder = next((r for at, r in inner if place.is_within(at) and name in r.specs), None)
        holder = holder or flow.resources
        holders[id(holder)] = holder
        needs.setdefault((id(holder), name, kind), []).append(need)
    for at, name, kind in list(needs):
        special = _special(other for one, its, other in needs if (one, its) == (at, name))
        if special is not None and special is not kind:
            # What is opened for the one serves the other, too.
            needs[at, name, special] += needs.pop((at, name, kind))
    return [(holders[at], name, kind, those) for (at, name, kind), those in needs.items()]


def _error(
    name: str, kind: type[Resource], spec: Any, holder: Resources, needs: Iterable[Need]
) -> RagError | None:
    if spec is None:
        steps = ", ".join(dict.fromkeys(str(place) for place, *_ in needs))
        what = f"no resource is called {name!r} ({kind.__name__}), which {steps} takes"
        fix = f"name it in the pipeline: resources: {{{name}: ...}}"
        return ConfigError(what, where=f"resources.{name}", fix=fix)
    if isinstance(spec, Resource) or holder.is_open(name, kind):
        return None
    error = kind.absent(spec, base=holder.base)
    return error and type(error)(error.what, where=f"resources.{name}", fix=error.fix)


def _inner(flow: Needy) -> list[tuple[Place, Resources]]:
    """Place and resources of the inner flows, the innermost first."""
    found = [(at, node.flow.resources) for at, node in flow.walk() if isinstance(node, SubFlow)]
    return sorted(found, key=lambda one: -len(one[0]))


def _kinds(needs: Iterable[Need]) -> dict[str, list[type[Resource]]]:
    found: dict[str, list[type[Resource]]] = {}
    for _, name, kind in needs:
        found.setdefault(name, []).append(kind)
    return found


def _special(kinds: Iterable[type[Resource]]) -> type[Resource] | None:
    """The class among some that is each of the others, too, if there is one."""
    found = list(kinds)
    return next((one for one in found if all(issubclass(one, other) for other in found)), None)


def _catches(node: Node) -> bool:
    """Whether a node goes on although something in it failed."""
    if isinstance(node, Race) or getattr(node, "quorum", None) is not None:
        return True
    return getattr(node, "fallback", None) is not None or getattr(node, "on_error", "") == "skip"


def _is_within(place: Place, caught: Iterable[Place]) -> bool:
    """Whether a place is at or below one of the nodes, and not in its fallback."""
    return any(place.is_within(one) and place[len(one) :][:1] != (".fallback",) for one in caught)
