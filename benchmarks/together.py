"""Wall time of independent calls of a model: together, and one after another.

    python benchmarks/together.py [--tokens N] [--rounds N]

First operators, over a hosted model whose every call takes half a second and whose profile allows
eight at once, or one. Rerankers and judges that order all in one prompt need one call anyway.
Then the local model: eight requests of so many tokens, which its scheduler decodes together; the
median of the rounds, the two alternating.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from langchain_core.documents import Document

from rag.flow import Flow, Operator
from rag.models import LLM, Generation, Prompt, Sampling
from rag.models.profiles import Profile
from rag.operators import (
    Critique,
    Describe,
    GradeDocuments,
    HyDE,
    ListwiseRerank,
    MapReduce,
    PointwiseRerank,
    RankAnswers,
    VerifyLLM,
)
from rag.testing import ScriptedLLM

SECONDS = 0.5
REQUESTS = 8
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
    ListwiseRerank(k=8),
    VerifyLLM(),
    Critique(),
    RankAnswers(by="grade", inputs={"answer": "answers"}),
    RankAnswers(by="list", inputs={"answer": "answers"}),
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


def operators() -> None:
    """A row for each operator."""
    print("| operator | calls | 8 at once, s | 1 at once, s |\n|---|---|---|---|")
    for step in STEPS:
        taken = []
        for concurrency in (REQUESTS, 1):
            llm = Slow("2", profile=Profile(concurrency=concurrency))
            ports = step.signature().reads
            reads = {step.inputs.get(port.name, port.name): port.type for port in ports}
            kinds = {name: reads[name] for name in INPUTS if name in reads}
            flow = Flow(step, inputs=kinds, resources={"llm": llm})
            started = perf_counter()
            flow.invoke(**{name: INPUTS[name] for name in kinds})
            taken.append((perf_counter() - started, len(llm.calls)))
        (fast, calls), (slow, _) = taken
        by = getattr(step, "by", None)
        print(f"| `{step.use}`{f' by {by}' if by else ''} | {calls} | {fast:.2f} | {slow:.2f} |")


async def local(tokens: int, rounds: int) -> None:
    """One row: requests to the local model."""
    llm = LLM.load(LLM.default, base=Path())
    prompts = [Prompt(f"Write a long story about lock number {n}.") for n in range(REQUESTS)]
    sampling = Sampling(max_tokens=tokens)
    await llm.generate(prompts[0], Sampling(max_tokens=1))  # open it
    fast, slow = [], []
    for _ in range(rounds):
        started = perf_counter()
        await asyncio.gather(*[llm.generate(prompt, sampling) for prompt in prompts])
        fast.append(perf_counter() - started)
        started = perf_counter()
        for prompt in prompts:
            await llm.generate(prompt, sampling)
        slow.append(perf_counter() - started)
    print("\n| local model | requests | together, s | one after another, s |\n|---|---|---|---|")
    print(f"| {tokens} tokens each | {REQUESTS} | {median(fast):.2f} | {median(slow):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=64, help="of each local answer")
    parser.add_argument("--rounds", type=int, default=3, help="of the local model")
    given = parser.parse_args()
    operators()
    asyncio.run(local(given.tokens, given.rounds))


if __name__ == "__main__":
    main()
