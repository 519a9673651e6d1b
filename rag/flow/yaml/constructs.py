"""The constructs that pipeline files know, by their keys."""

from __future__ import annotations

from rag.flow.constructs.interrupt import Interrupt
from rag.flow.constructs.loop import Loop
from rag.flow.constructs.map import Map
from rag.flow.constructs.parallel import Parallel
from rag.flow.constructs.race import Race
from rag.flow.constructs.recurse import Recurse
from rag.flow.constructs.route import Route
from rag.flow.node import Construct

CONSTRUCTS: dict[str, type[Construct]] = {
    kind.yaml_key: kind for kind in (Parallel, Map, Route, Loop, Race, Recurse, Interrupt)
}
"""Key to construct; `use`, `steps` and `flow` are read apart."""

EXAMPLES = {
    "parallel": "parallel: {a: {use: ...}, b: {use: ...}}",
    "map": "map: {over: queries, as: query}",
    "route": "route: {by: intent, cases: {...}}",
    "loop": "loop: {max_turns: 3}",
    "race": "race: {a: {use: ...}, b: {use: ...}}",
    "recurse": "recurse: {max_depth: 2}",
    "interrupt": "interrupt: {message: ...}",
}
"""Key to how it is written in short."""
