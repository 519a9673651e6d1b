"""Chunks, their vectors and words, in a folder or on a server."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.index.binding import IndexBinding
    from rag.index.index import Index
    from rag.index.types import Hit, IndexStats, Source, SourceUpdate, WriteReport
    from rag.index.writer import IndexWriter

__all__ = [
    "Hit",
    "Index",
    "IndexBinding",
    "IndexStats",
    "IndexWriter",
    "Source",
    "SourceUpdate",
    "WriteReport",
]

_MODULES = {"Index": "index", "IndexBinding": "binding", "IndexWriter": "writer"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'rag.index' has no attribute {name!r}")
    return getattr(import_module(f"rag.index.{_MODULES.get(name, 'types')}"), name)
