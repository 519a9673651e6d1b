"""The indexes of a flow that the server opens, and which of them a collection is."""

from __future__ import annotations

from collections.abc import Iterable

from rag.flow import Flow
from rag.flow.absence import needed
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
