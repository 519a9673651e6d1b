"""Modular retrieval-augmented generation: operators that compose into checked flows."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag.errors import RagError
    from rag.flow import (
        Budget,
        Cache,
        Checkpoints,
        Flow,
        Interrupt,
        Loop,
        Map,
        Operator,
        Parallel,
        Recurse,
        Resource,
        Resources,
        Retry,
        Route,
        RunContext,
        Sequence,
        as_step,
        load_flow,
        operator,
    )

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Cache",
    "Checkpoints",
    "Document",
    "Flow",
    "Interrupt",
    "Loop",
    "Map",
    "Operator",
    "Parallel",
    "RagError",
    "Recurse",
    "Resource",
    "Resources",
    "Retry",
    "Route",
    "RunContext",
    "Sequence",
    "as_step",
    "load_flow",
    "operator",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: the command's `--help` needs none of it."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'rag' has no attribute {name!r}")
    module = {"Document": "langchain_core.documents", "RagError": "rag.errors"}
    return getattr(import_module(module.get(name, "rag.flow")), name)
