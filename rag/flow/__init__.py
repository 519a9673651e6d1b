"""The flow engine: build, check, run and draw flows. It knows nothing of RAG beyond its types."""

from rag.flow.constructs.guard import Guard
from rag.flow.constructs.interrupt import Interrupt
from rag.flow.constructs.loop import Loop
from rag.flow.constructs.map import Map
from rag.flow.constructs.parallel import Parallel
from rag.flow.constructs.race import Race
from rag.flow.constructs.recurse import Recurse
from rag.flow.constructs.route import Route
from rag.flow.constructs.subflow import SubFlow
from rag.flow.flow import Flow
from rag.flow.inputs import Input
from rag.flow.memory.memory import Memory
from rag.flow.node import Node, Sequence
from rag.flow.operator import Operator, operator
from rag.flow.place import Place
from rag.flow.policies import Budget, Cache, Retry
from rag.flow.resources import Resource, Resources
from rag.flow.run.context import RunContext
from rag.flow.run.record import RunRecord
from rag.flow.yaml.load import load_flow

__all__ = [
    "Budget",
    "Cache",
    "Flow",
    "Guard",
    "Input",
    "Interrupt",
    "Loop",
    "Map",
    "Memory",
    "Node",
    "Operator",
    "Parallel",
    "Place",
    "Race",
    "Recurse",
    "Resource",
    "Resources",
    "Retry",
    "Route",
    "RunContext",
    "RunRecord",
    "Sequence",
    "SubFlow",
    "load_flow",
    "operator",
]
