"""The part of a flow that only retrieves: before the first LLM call or compression."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from langchain_core.documents import Document

from rag.errors import BuildError, ConfigError
from rag.flow import Flow, Guard, Loop, Map, Node, Operator, Parallel, Route, Sequence, SubFlow
from rag.flow.node import walk
from rag.flow.resources import Resources, well_known
from rag.flow.types import fits
from rag.models import Profiled
from rag.operators import SelectSentences

Part = tuple[Node | None, bool]
"""The part of a node that only retrieves, and whether that is the whole node."""


def retrieval_part(flow: Flow) -> Flow:
    """The flow's steps before the first that takes a language model or compresses texts.

    Of a loop with such a step, the first turn up to it; of branches, each up to it, if their join
    joins documents. A step that pauses for approval, or calls the flow itself, ends it too.

    Raises:
        ConfigError: These steps retrieve no documents, or are no flow by themselves.
    """
    try:
        node, _ = _before(flow.node)
        part = Flow(
            node or Sequence(), name=flow.name, inputs=flow.inputs, resources=_taken(flow, node)
        )
    except BuildError as error:
        raise ConfigError(
            "the steps before the first LLM call are no flow by themselves",
            where=flow.name,
            fix="retrieve, and join the documents, before a step that takes a language model",
        ) from error
    if not fits(part.output_types.get("documents", type(None)), list[Document]):
        raise ConfigError(
            "the pipeline retrieves no documents before its first LLM call",
            where=flow.name,
            fix="give a pipeline that retrieves, such as hybrid",
        )
    return part


def _taken(flow: Flow, node: Node | None) -> Resources:
    """The flow's resources without those of a name of its own that only other steps bind."""
    steps = [one for _, one in walk(node)] if node is not None else []
    bound = {name for one in steps if isinstance(one, Operator) for name in one.resources.values()}
    taken = flow.resources.but({})
    taken.specs = {
        name: spec for name, spec in taken.specs.items() if name in bound or name in well_known()
    }
    return taken


def _before(node: Node) -> Part:
    match node:
        case Sequence():
            return _sequence(node.nodes)
        case Parallel():
            return _parallel(node)
        case Map():
            body, whole = _before(node.body)
            if whole and (node.join is None or _retrieves(node.join)):
                return node, True
            joined = body is not None and _joins(node.join, [(node.body, body)])
            return (replace(node, body=body) if body and joined else None), False
        case Route():
            return _route(node)
        case Loop():
            body, whole = _before(node.body)
            if whole or body is None:
                return (node if whole else None), whole
            return replace(node, body=body, between=None, max_turns=1, until=None, carry=()), False
        case SubFlow():
            return _subflow(node)
        case Guard():
            body, whole = _before(node.body)
            return (node if whole else body), whole
        case Operator() if _retrieves(node):
            return node, True
        case _:
            return None, False


def _sequence(nodes: Iterable[Node]) -> Part:
    parts: list[Node] = []
    for node in nodes:
        part, whole = _before(node)
        if part is not None:
            parts.append(part)
        if not whole:
            return (Sequence(*parts) if parts else None), False
    return Sequence(*parts), True


def _parallel(node: Parallel) -> Part:
    parts = {name: _before(branch) for name, branch in node.branches.items()}
    if all(whole for _, whole in parts.values()) and (node.join is None or _retrieves(node.join)):
        return node, True
    if not _joins(node.join, [(node.branches[name], part) for name, (part, _) in parts.items()]):
        return None, False
    branches = {name: part for name, (part, _) in parts.items() if part is not None}
    return replace(node, branches=branches), False


def _joins(join: Node | None, branches: Iterable[tuple[Node, Node | None]]) -> bool:
    """Whether the join still makes one list of all documents that the branches retrieve.

    Args:
        join: The join of the branches.
        branches: Each branch, and its part. Half of a fusion would be another search.
    """
    return (
        isinstance(join, Operator)
        and _retrieves(join)
        and "documents" in {port.name for port in join.signature().reads}
        and all(
            part is not None and "documents" in _written(part)
            for branch, part in branches
            if "documents" in _written(branch)
        )
    )


def _route(node: Route) -> Part:
    if isinstance(node.by, Node) and not _before(node.by)[1]:
        return None, False
    cases = {name: _before(branch) for name, branch in node.cases.items()}
    default = _before(node.default) if node.default is not None else (None, True)
    if default[1] and all(whole for _, whole in cases.values()):
        return node, True
    parts = {name: part or Sequence() for name, (part, _) in cases.items()}
    other = None if node.default is None else default[0] or Sequence()
    return Route(node.by, parts, other, node.name), False


def _subflow(node: SubFlow) -> Part:
    inner: Flow = node.flow
    part, whole = _before(inner.node)
    if whole or part is None:
        return (node if whole else None), whole
    writes = Flow(part, inputs=inner.inputs).output_types
    outputs = [name for name in inner.output_types if name in writes]
    retrieving = Flow(
        part, name=inner.name, inputs=inner.inputs, outputs=outputs, resources=inner.resources
    )
    renamed = {name: outer for name, outer in node.outputs.items() if name in outputs}
    return replace(node, flow=retrieving, outputs=renamed), False


def _retrieves(node: Node) -> bool:
    """Whether the node is an operator that neither takes a language model nor compresses."""
    if not isinstance(node, Operator) or isinstance(node, SelectSentences):
        return False
    return not any(issubclass(port.type, Profiled) for port in node.signature().resources)


def _written(node: Node) -> set[str]:
    return {
        one.outputs.get(port.name, port.name)
        for _, one in walk(node)
        if isinstance(one, Operator)
        for port in one.signature().writes
    }
