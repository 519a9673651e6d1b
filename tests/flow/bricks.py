"""Small operators that the flow tests are made of."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from langchain_core.documents import Document

from rag.flow import Operator, RunContext, operator
from rag.flow.registry import Registry


@operator(writes="queries")
def expand(query: str, *, n: int = 2) -> list[str]:
    """Make variants of the query."""
    return [f"{query}{number}" for number in range(n)]


@operator(writes="documents")
def find(query: str, *, k: int = 2) -> list[Document]:
    """Find documents."""
    return [
        Document(page_content=f"{query}-{number}", id=f"{query}-{number}") for number in range(k)
    ]


@operator(writes="documents")
def fuse(documents: list[list[Document]]) -> list[Document]:
    """Join rankings."""
    return [document for ranking in documents for document in ranking]


@operator(writes="documents")
def top(documents: list[Document], *, k: int = 2) -> list[Document]:
    """Keep the first."""
    return documents[:k]


@operator(writes="answer")
def answer(query: str, documents: list[Document]) -> str:
    """Say what was found."""
    return f"{query}: {' '.join(document.page_content for document in documents)}"


@operator(writes="intent")
def classify(query: str) -> Literal["short", "long"]:
    """Tell short questions from long ones."""
    return "short" if len(query) < 5 else "long"


@operator(writes="x")
def inc(x: int, *, by: int = 1) -> int:
    """Add."""
    return x + by


@operator(writes="total")
def total(x: list[int]) -> int:
    """Sum what the branches wrote."""
    return sum(x)


@operator(writes="named")
def named(x: dict[str, int]) -> dict[str, int]:
    """Tell what each branch wrote, by its name."""
    return x


@operator(writes="x")
async def nap(x: int, *, seconds: float = 0.01) -> int:
    """Wait without holding anybody up."""
    await asyncio.sleep(seconds)
    return x


@operator(writes="x")
def block(x: int, *, seconds: float = 0.01) -> int:
    """Wait in a thread."""
    time.sleep(seconds)
    return x


@operator(writes="x")
def explode(x: int) -> int:
    """Fail."""
    raise ValueError(f"cannot do {x}")


@operator(writes="x")
def lie(x: int) -> int:
    """Return something else than declared."""
    return f"{x}"  # type: ignore[return-value]


@operator(writes="answer")
async def speak(query: str, *, ctx: RunContext) -> str:
    """Stream the query's letters."""
    for letter in query:
        ctx.token(letter)
    return query


@operator(writes="seen")
def remember(x: int, seen: list[int] | None = None) -> list[int]:
    """Append to what earlier turns wrote."""
    return [*(seen or []), x]


class Scale(Operator):
    """Multiply; an operator as a class."""

    writes = ("x", "note")
    factor: int = 2

    def run(self, x: int) -> tuple[int, str]:
        """Multiply."""
        return x * self.factor, f"times {self.factor}"


REGISTRY = Registry(
    {
        kind.use: kind
        for kind in (
            expand, find, fuse, top, answer, classify, inc, total, named, nap, block, explode, lie,
            speak, remember, Scale,
        )
    }
)  # fmt: skip
