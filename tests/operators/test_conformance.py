"""Our own operators pass the suite that other people's operators pass."""

from __future__ import annotations

import re
from typing import Any

from rag.flow.operator import Operator
from rag.flow.registry import Registry
from rag.operators import CATALOGUE
from rag.testing.encoders import ScriptedEmbedder, ScriptedNLI, ScriptedReranker
from rag.testing.llm import ScriptedLLM
from rag.testing.suites.operator import OperatorSuite
from tests.operators.test_examples import example_of, given_to

SCRIPTED = {"llm", "embedder", "reranker", "nli"}


class Conforms(OperatorSuite):
    def resources(self) -> dict[str, Any]:
        scripted = {
            "llm": ScriptedLLM(probability=0.5),
            "embedder": ScriptedEmbedder(),
            "reranker": ScriptedReranker(),
            "nli": ScriptedNLI(),
        }
        wanted = {port.name for port in self.operator.signature().resources}
        return {name: one for name, one in scripted.items() if name in wanted}


def conforming(step: Operator) -> type[Conforms]:
    """The suite for an operator, with the inputs of its example."""
    inputs = given_to(type(step).signature())
    attributes = {"operator": step, "inputs": inputs, "__module__": __name__}
    return type(f"Test{type(step).__name__}", (Conforms,), attributes)


for name in sorted(CATALOGUE):
    kind = Registry()[name]
    taken = {port.name for port in kind.signature().resources if port.required}
    found = re.search(r"Example: `(\{.*\})`", kind.__doc__ or "")
    if taken <= SCRIPTED and found:
        made = conforming(example_of(name))
        globals()[made.__name__] = made
