"""Wall time of operators whose calls of a model are independent: 8 calls of half a second.

python benchmarks/together.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

from langchain_core.documents import Document

from rag.flow import Flow, Operator
from rag.models import Generation, Prompt, Sampling
from rag.models.profiles import Profile
from rag.operators import (
    Critique,
    Describe,
    GradeDocuments,
    HyDE,
    MapReduce,
    PointwiseRerank,
    VerifyLLM,
)
from rag.testing import ScriptedLLM

SECONDS = 0.5
DOCUMENTS = [Document(page_content=f"Keeper {n} opens the lock.", id=str(n)) for n in range(8)]
INPUTS = {
    "query": "Who opens it?",
    "documents": DOCUMENTS,
    "answer": "A keeper opens it.",
    "answers": [f"Keeper {n}." for n in range(8)],
}
STEPS: tuple[Operator, ...] = (
    GradeDocuments(),
    PointwiseRerank(),
    VerifyLLM(),
    Critique(),
    MapReduce(),
    HyDE(n=8),
    Describe(),
)


class Slow(ScriptedLLM):
    """Answers after half a second."""

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: Any = None
    ) -> AsyncIterator[str | Generation]:
        await asyncio.sleep(SECONDS)
        async for piece in super().stream(prompt, sampling, reuse):
            yield piece


def main() -> None:
    print(f"{'operator':18}{'calls':>6}{'at once 8':>12}{'1':>8}  (seconds)")
    for step in STEPS:
        found = []
        for concurrency in (8, 1):
            llm = Slow("2", profile=Profile(concurrency=concurrency))
            reads = {port.name: port.type for port in step.signature().reads}
            kinds = {name: reads[name] for name in INPUTS if name in reads}
            flow = Flow(step, inputs=kinds, resources={"llm": llm})
            started = perf_counter()
            flow.invoke(**{name: INPUTS[name] for name in kinds})
            found.append((perf_counter() - started, len(llm.calls)))
        (fast, calls), (slow, _) = found
        print(f"{step.use:18}{calls:6}{fast:12.2f}{slow:8.2f}")


if __name__ == "__main__":
    main()
