"""Modular retrieval-augmented generation: operators that compose into checked flows."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag.errors import RagError
    from rag.flow import (
        Budget,
        Cache,
        Flow,
        Guard,
        Input,
        Interrupt,
        Loop,
        Map,
        Memory,
        Parallel,
        Place,
        Race,
        Recurse,
        Resource,
        Resources,
        Retry,
        Route,
        RunContext,
        RunRecord,
        Sequence,
        load_flow,
    )
    from rag.flow.langchain import as_step
    from rag.flow.memory.checkpoints import Checkpoints
    from rag.flow.operator import Operator, operator

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Cache",
    "Checkpoints",
    "Document",
    "Flow",
    "Guard",
    "Input",
    "Interrupt",
    "Loop",
    "Map",
    "Memory",
    "Operator",
    "Parallel",
    "Place",
    "Race",
    "RagError",
    "Recurse",
    "Resource",
    "Resources",
    "Retry",
    "Route",
    "RunContext",
    "RunRecord",
    "Sequence",
    "as_step",
    "load_flow",
    "operator",
]

_ELSEWHERE = {
    "Checkpoints": "rag.flow.memory.checkpoints",
    "Document": "langchain_core.documents",
    "RagError": "rag.errors",
    "as_step": "rag.flow.langchain",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: the command's `--help` needs none of them."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'rag' has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "rag.flow")), name)
