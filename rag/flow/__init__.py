"""The flow engine: build, check, run and draw flows. It knows nothing of RAG beyond its types."""

from rag.flow.constructs import (
    Interrupt,
    Loop,
    Map,
    Parallel,
    Recurse,
    Route,
    Sequence,
    SubFlow,
)
from rag.flow.flow import Flow
from rag.flow.langchain import as_step
from rag.flow.memory.checkpoints import Checkpoints
from rag.flow.node import Node
from rag.flow.operator import Operator, operator
from rag.flow.resources import Resource, Resources
from rag.flow.run.context import RunContext
from rag.flow.run.policy import Budget, Cache, Retry
from rag.flow.yaml import load_flow

__all__ = [
    "Budget",
    "Cache",
    "Checkpoints",
    "Flow",
    "Interrupt",
    "Loop",
    "Map",
    "Node",
    "Operator",
    "Parallel",
    "Recurse",
    "Resource",
    "Resources",
    "Retry",
    "Route",
    "RunContext",
    "Sequence",
    "SubFlow",
    "as_step",
    "load_flow",
    "operator",
]
