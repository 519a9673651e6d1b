"""The part of a flow that only retrieves: what comes before a model is asked, or texts are cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from langchain_core.documents import Document

from rag.errors import BuildError, ConfigError
from rag.flow import Flow, Guard, Loop, Map, Node, Operator, Parallel, Route, Sequence, SubFlow
from rag.flow.node import walk
from rag.flow.types import fits
from rag.models import LLM
from rag.operators import SelectSentences

Part = tuple[Node | None, bool]
"""What of a node comes before, and whether that is all of it."""


def retrieval_part(flow: Flow) -> Flow:
    """The flow's steps before the first that takes a language model, or compresses.

    Of a loop in which one does, the first turn up to there; of branches, each up to there, if
    what joins them joins documents. A step that asks a person, and one that calls the flow
    itself, end it too.

    Raises:
        ConfigError: No documents are found before.
    """
    try:
        node, _ = _before(flow.node)
        part = Flow(
            node or Sequence(), name=flow.name, inputs=flow.inputs, resources=flow.resources
        )
    except BuildError as error:
        raise ConfigError(
            "what the pipeline does before it asks a language model is no flow by itself",
            where=flow.name,
            fix="let it retrieve, and join what it found, before a step that takes a model",
        ) from error
    if not fits(part.output_types.get("documents", type(None)), list[Document]):
        raise ConfigError(
            "the pipeline finds no documents before it asks a language model",
            where=flow.name,
            fix="give a pipeline that retrieves, such as hybrid",
        )
    return part


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
    kept: list[Node] = []
    for node in nodes:
        part, whole = _before(node)
        if part is not None:
            kept.append(part)
        if not whole:
            return (Sequence(*kept) if kept else None), False
    return Sequence(*kept), True


def _parallel(node: Parallel) -> Part:
    parts = {name: _before(branch) for name, branch in node.branches.items()}
    if all(whole for _, whole in parts.values()) and (node.join is None or _retrieves(node.join)):
        return node, True
    if not _joins(node.join, [(node.branches[name], part) for name, (part, _) in parts.items()]):
        return None, False
    branches = {name: part for name, (part, _) in parts.items() if part is not None}
    return replace(node, branches=branches), False


def _joins(join: Node | None, branches: Iterable[tuple[Node, Node | None]]) -> bool:
    """Whether the join still makes one list of all documents that the branches found.

    Args:
        join: Of the branches.
        branches: As they are, and what is left of them. Half of a fusion would be another search.
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
    kept = {name: part or Sequence() for name, (part, _) in cases.items()}
    other = None if node.default is None else default[0] or Sequence()
    return Route(node.by, kept, other, node.name), False


def _subflow(node: SubFlow) -> Part:
    inner: Flow = node.flow
    part, whole = _before(inner.node)
    if whole or part is None:
        return (node if whole else None), whole
    writes = Flow(part, inputs=inner.inputs).output_types
    outputs = [name for name in inner.output_types if name in writes]
    kept = Flow(
        part, name=inner.name, inputs=inner.inputs, outputs=outputs, resources=inner.resources
    )
    renamed = {name: outer for name, outer in node.outputs.items() if name in outputs}
    return replace(node, flow=kept, outputs=renamed), False


def _retrieves(node: Node) -> bool:
    """Whether the node is an operator that neither takes a language model nor cuts texts down."""
    return isinstance(node, Operator) and _only_retrieves(node)


def _only_retrieves(operator: Operator) -> bool:
    asks = any(issubclass(port.type, LLM) for port in operator.signature().resources)
    return not asks and not isinstance(operator, SelectSentences)


def _written(node: Node) -> set[str]:
    return {
        one.outputs.get(port.name, port.name)
        for _, one in walk(node)
        if isinstance(one, Operator)
        for port in one.signature().writes
    }
