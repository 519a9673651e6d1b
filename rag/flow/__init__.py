"""The flow engine: build, check, run and draw flows. It knows nothing of RAG beyond its types."""

from rag.flow.constructs import Loop, Map, Parallel, Route, Sequence, SubFlow
from rag.flow.context import Context
from rag.flow.flow import Flow
from rag.flow.node import Node
from rag.flow.operator import Operator, operator
from rag.flow.policy import Budget, Retry
from rag.flow.resources import Resource, Resources
from rag.flow.yaml import load_flow

__all__ = [
    "Budget",
    "Context",
    "Flow",
    "Loop",
    "Map",
    "Node",
    "Operator",
    "Parallel",
    "Resource",
    "Resources",
    "Retry",
    "Route",
    "Sequence",
    "SubFlow",
    "load_flow",
    "operator",
]
