"""The steps of a flow that write its answer, also within inner flows that rename channels."""

from __future__ import annotations

from collections.abc import Iterator

from rag.flow import Flow, Guard, Node, Operator, Place, Route, Sequence, SubFlow
from rag.flow.node import place_of, root_of
from rag.operators import Cite

ANSWER = "answer"
"""The channel of the answer."""


def writers(flow: Flow) -> dict[Place, Operator]:
    """The steps whose output becomes the channel `answer`, drafts of it included."""
    place, node = next(flow.walk())
    return dict(_writers(node, place, ANSWER))


def final(flow: Flow) -> frozenset[Place]:
    """The steps whose tokens are the final answer as they come.

    A step is left out where its text may yet be replaced: in a loop, a map, a race or a join,
    before a step that writes the answer again (but for `cite`, which only adds marks), or under
    a retry or a fallback. Of a step that runs a flow and passes its outputs on, those of the flow
    are final too.
    """
    place, node = next(flow.walk())
    return frozenset(_final(node, place, ANSWER))


Child = tuple[Node, Place, str]
"""A node, its place, and the channel that holds the answer there."""


def _children(node: Node, place: Place, channel: str) -> dict[str, Child]:
    """The children of a node by their edges; an inner flow may know the channel by another name."""
    if isinstance(node, SubFlow):
        outer = {node.outputs.get(name, name): name for name in node.flow.output_types}
        if channel not in outer:
            return {}
        channel = outer[channel]
    return {
        edge: (child, place_of(node, place, edge, child), channel)
        for edge, child in node.children().items()
    }


def _writers(node: Node, place: Place, channel: str) -> Iterator[tuple[Place, Operator]]:
    if isinstance(node, Operator) and channel in _written(node):
        yield place, node
    for child in _children(node, place, channel).values():
        yield from _writers(*child)


def _final(node: Node, place: Place, channel: str) -> Iterator[Place]:
    children = _children(node, place, channel)
    match node:
        case Operator() | Guard() if node.retry is not None or node.fallback is not None:
            return
        case Operator() if channel in _written(node):
            yield place
            if (inner := node.inner()) is not None:
                own = _written(node)[channel]
                yield from _final(inner, root_of(inner, place.call().static), own)
        case Sequence():
            last = [one for one in children.values() if _writes(*one)][-1:]
            for child in last:
                yield from _final(*child)
        case Route():
            for edge, child in children.items():
                if edge != ".by":
                    yield from _final(*child)
        case SubFlow() | Guard():
            for child in children.values():
                yield from _final(*child)


def _writes(node: Node, place: Place, channel: str) -> bool:
    """Whether the text of the answer may come from this node."""
    return not isinstance(node, Cite) and any(True for _ in _writers(node, place, channel))


def _written(step: Operator) -> dict[str, str]:
    """Channel to the step's own name of it."""
    return {step.outputs.get(port.name, port.name): port.name for port in step.signature().writes}
