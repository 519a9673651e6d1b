"""Small operators that the peers' behaviours are made of, and what is asserted of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document

from rag.flow import Flow, operator
from rag.flow.run.events import NodeStarted


@operator(writes="x")
def add(x: int, *, n: int = 1) -> int:
    """Add a number."""
    return x + n


@operator(writes="total")
def total(x: list[int]) -> int:
    """Sum what the branches wrote."""
    return sum(x)


@operator(writes="log")
def note(log: list[str] | None = None, *, text: str) -> list[str]:
    """Append a text to what was noted so far."""
    return [*(log or []), text]


@operator(writes="x")
def double(x: int) -> int:
    """Double."""
    return 2 * x


@operator(writes="answer")
def say(x: int | None = None, *, text: str = "nothing") -> str:
    """Put a number into words."""
    return text if x is None else f"it is {x}"


@operator(writes="documents")
def create(*, text: str) -> list[Document]:
    """Make a document."""
    return [Document(page_content=text)]


@operator(writes="documents")
def gather(documents: list[list[Document]]) -> list[Document]:
    """Put lists after one another."""
    return [document for found in documents for document in found]


def stuck(ended: list[str]) -> Any:
    """A step that waits for ever, and notes how it ended."""

    @operator(writes="x")
    async def wait(x: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return x

    return wait()


def ran(flow: Flow, **inputs: Any) -> list[str]:
    """The occurrences of steps that a run starts, in order."""
    return [str(e.place) for e in flow.stream(**inputs) if isinstance(e, NodeStarted)]


def read(flow: Flow, place: str, **inputs: Any) -> list[dict[str, Any]]:
    """What the occurrences of a step read, in order."""
    return [dict(one.inputs) for one in flow.run(**inputs).at(place)]


def labels(places: Sequence[str]) -> list[str]:
    """The last segments of places."""
    return [place.rsplit("/", 1)[-1] for place in places]
