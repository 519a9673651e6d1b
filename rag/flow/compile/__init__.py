"""Compile a flow: check every node against the channels before it, and make it a runner.

One pass does both, so that what was checked is what runs. All problems are collected.
"""

from rag.flow.compile.builder import Build, Builder, Positions
from rag.flow.compile.built import Built, Compiled
from rag.flow.compile.guard import build_guard
from rag.flow.compile.interrupt import build_interrupt
from rag.flow.compile.loop import build_loop
from rag.flow.compile.map import build_map
from rag.flow.compile.parallel import build_parallel
from rag.flow.compile.race import build_race
from rag.flow.compile.route import build_route
from rag.flow.compile.sequence import build_sequence
from rag.flow.compile.step import build_step
from rag.flow.compile.subflow import build_recurse, build_subflow
from rag.flow.constructs.guard import Guard
from rag.flow.constructs.interrupt import Interrupt
from rag.flow.constructs.loop import Loop
from rag.flow.constructs.map import Map
from rag.flow.constructs.parallel import Parallel
from rag.flow.constructs.race import Race
from rag.flow.constructs.recurse import Recurse
from rag.flow.constructs.route import Route
from rag.flow.constructs.subflow import SubFlow
from rag.flow.node import Node, Sequence
from rag.flow.operator import Operator

BUILDS: dict[type[Node], Build] = {
    Guard: build_guard,
    Interrupt: build_interrupt,
    Loop: build_loop,
    Map: build_map,
    Operator: build_step,
    Parallel: build_parallel,
    Race: build_race,
    Recurse: build_recurse,
    Route: build_route,
    Sequence: build_sequence,
    SubFlow: build_subflow,
}

__all__ = ["BUILDS", "Builder", "Built", "Compiled", "Positions"]
