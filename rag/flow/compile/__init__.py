"""Build a flow: check every node against the channels before it, and compile it to a runner.

One pass does both, so that what was checked is what runs. All problems are collected.
"""

from rag.flow.compile.builder import Build, Builder, Built, Positions
from rag.flow.compile.interrupt import build_interrupt
from rag.flow.compile.loop import build_loop
from rag.flow.compile.parallel import build_map, build_parallel
from rag.flow.compile.route import build_route
from rag.flow.compile.sequence import build_sequence, build_step
from rag.flow.compile.subflow import build_recurse, build_subflow
from rag.flow.constructs import Interrupt, Loop, Map, Parallel, Recurse, Route, Sequence, SubFlow
from rag.flow.node import Node
from rag.flow.operator import Operator

BUILDS: dict[type[Node], Build] = {
    Interrupt: build_interrupt,
    Loop: build_loop,
    Map: build_map,
    Operator: build_step,
    Parallel: build_parallel,
    Recurse: build_recurse,
    Route: build_route,
    Sequence: build_sequence,
    SubFlow: build_subflow,
}

__all__ = ["BUILDS", "Builder", "Built", "Positions"]
