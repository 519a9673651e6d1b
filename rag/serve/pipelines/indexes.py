"""The indexes of a flow that the server opens, and which of them a collection is."""

from __future__ import annotations

from collections.abc import Iterable

from rag.flow import Flow, SubFlow
from rag.flow.absence import kinds_of
from rag.flow.resources import Resource
from rag.index import Index, IndexBinding, IndexWriter
from rag.index.store import Address


def collection_of(flow: Flow, collection: str, name: str) -> Address:
    """Where a collection is, of the index that a flow names."""
    return IndexBinding(flow.resources, index=name, collection=collection).address


def searched(
    flow: Flow, names: Iterable[str], collections: Iterable[str]
) -> list[tuple[str, Address]]:
    """Collections, each with where it is: of each of some of the flow's indexes."""
    names = list(names)
    return [(one, collection_of(flow, one, name)) for one in collections for name in names]


def writes(flow: Flow, name: str) -> bool:
    """Whether a step writes to the index of that name."""
    return any(one == name and issubclass(kind, IndexWriter) for _, one, kind in flow.needs)


def indexes(flow: Flow) -> list[str]:
    """The names of the flow's own indexes that are opened by the server."""
    return [
        name
        for name, kind in needed(flow).items()
        if issubclass(kind, Index | IndexWriter)
        and not isinstance(flow.resources.specs.get(name, kind.default), Resource)
    ]


def needed(flow: Flow) -> dict[str, type[Resource]]:
    """Name to kind of the resources that the flow's steps take, but for inner flows' own."""
    inner = [
        (place, node.flow.resources.specs)
        for place, node in flow.walk()
        if isinstance(node, SubFlow)
    ]
    return kinds_of(
        (place, name, kind)
        for place, name, kind in flow.needs
        if not any(place.is_within(where) and name in specs for where, specs in inner)
    )
