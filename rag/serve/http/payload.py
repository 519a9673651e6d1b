"""What leaves the server of a run: its events and its result, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from rag.cli.output import plain, shown
from rag.flow.run import events
from rag.serve.http.problems import as_dict as problem_dict
from rag.serve.http.problems import problem_of

if TYPE_CHECKING:
    from langchain_core.documents import Document

TOLD = frozenset({"query", "answer", "documents", "citations", "generation"})
"""Channels that the result shows under names of their own."""


def event_data(event: events.Event) -> tuple[str, dict[str, Any]]:
    """The event's name and its fields; of what a step wrote, how much it is."""
    data = events.as_dict(event)
    name = data.pop("event")
    if "writes" in data:
        data["writes"] = {channel: brief(value) for channel, value in data["writes"].items()}
    if "error" in data:
        problem = problem_of(data["error"])
        data["error"] = {"code": problem.code, "what": problem.what, "fix": problem.fix}
    if "seconds" in data:
        data["seconds"] = round(data["seconds"], 6)
    return name, data


def brief(value: Any) -> str:
    """A written value on one line of at most 120 characters."""
    return (
        shown(value)[:120] if isinstance(value, str | int | float | bool | None) else _size(value)
    )


def _size(value: Any) -> str:
    return f"({len(value)} items)" if hasattr(value, "__len__") else type(value).__name__


def outputs(result: Mapping[str, Any]) -> dict[str, Any]:
    """The output channels that have no name of their own in the result, as JSON."""
    return {
        name: to_jsonable_python(value, fallback=plain, serialize_unknown=True)
        for name, value in result.items()
        if name not in TOLD
    }


def sources(documents: list[Document], citations: list[Any]) -> list[dict[str, Any]]:
    """The documents that the answer was made from, numbered from 1, and which it cites."""
    from rag.operators.documents import location

    cited = {citation.number: citation for citation in citations}
    found = []
    for number, document in enumerate(documents, start=1):
        about, citation = document.metadata, cited.get(number)
        score = about.get("score")
        found.append(
            {
                "number": number,
                "id": document.id,
                "title": about.get("title"),
                "place": location(document),
                "text": document.page_content,
                "start": about.get("start"),
                "end": about.get("end"),
                "score": None if score is None else round(float(score), 6),
                "cited": citation is not None,
                "quote": citation.quote if citation else None,
                "support": citation.support if citation else None,
            }
        )
    return found


def failure(error: BaseException) -> dict[str, Any]:
    """The `error` event of a stream."""
    return problem_dict(problem_of(error))
