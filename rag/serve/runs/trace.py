"""The trace of a run: what models read and wrote, and how rankings changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow.run.record import Call, Occurrence, RunRecord
from rag.operators.scores import score_of
from rag.plain import plain
from rag.text.chunk import Chunk
from rag.text.location import location

TEXT = 40_000
"""Characters of one text at most."""
TEXTS = 400_000
"""Characters of all texts of a trace at most."""
STEPS = 500
CANDIDATES = 100
"""Documents of a ranking at most."""


class TraceMessage(BaseModel):
    """A message to a model."""

    role: str
    content: str


class TraceCall(BaseModel):
    """A call of a language model."""

    model: str
    prompt: list[TraceMessage]
    output: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    reuse: dict[str, Any] | None = Field(description="of the prompt's states, chunk by chunk")


class Candidate(BaseModel):
    """A document of a ranking."""

    id: str | None
    title: str
    place: str
    score: float | None


class TraceStep(BaseModel):
    """One occurrence of a step."""

    place: str = Field(description="which step, and which of its occurrences")
    node: str = Field(description="the step, as `data-node` in the drawing")
    seconds: float
    tokens: int
    source: str | None = Field(description="`cache` or `checkpoint` where it did not run")
    error: str | None
    warnings: list[str]
    calls: list[TraceCall]
    read: dict[str, list[Candidate]] = Field(description="channel: the documents it was given")
    wrote: dict[str, list[Candidate]] = Field(description="channel: the documents it wrote")


def trace_of(record: RunRecord) -> list[TraceStep]:
    """The steps of a run in the order of their starts; long texts are cut."""
    left = TEXTS

    def cut(text: str) -> str:
        nonlocal left
        most = min(TEXT, left)
        left -= min(len(text), most)
        return text if len(text) <= most else f"{text[:most]}…"

    return [_step(one, cut) for one in record.occurrences[:STEPS]]


def _step(one: Occurrence, cut: Callable[[str], str]) -> TraceStep:
    return TraceStep(
        place=str(one.place),
        node=str(one.place.static),
        seconds=round(one.seconds, 6),
        tokens=one.tokens,
        source=one.source,
        error=one.error,
        warnings=one.warnings[:20],
        calls=[_call(call, cut) for call in one.calls],
        read=_rankings(one.inputs),
        wrote=_rankings(one.writes or {}),
    )


def _call(call: Call, cut: Callable[[str], str]) -> TraceCall:
    messages = [(str(one.get("role", "")), str(one.get("content", ""))) for one in call.prompt]
    return TraceCall(
        model=call.model,
        prompt=[TraceMessage(role=role, content=cut(text)) for role, text in messages],
        output=cut(call.output),
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        seconds=round(call.seconds, 6),
        reuse=None if call.reuse is None else plain(call.reuse),
    )


def _rankings(values: Mapping[str, Any]) -> dict[str, list[Candidate]]:
    """Those channels that hold documents; lists of rankings one after another."""
    found = {name: list(_documents(value)) for name, value in values.items()}
    return {name: [_candidate(one) for one in some] for name, some in found.items() if some}


def _documents(value: Any) -> Iterable[Document]:
    if isinstance(value, Mapping):
        value = [one for some in value.values() for one in _documents(some)]
    if not isinstance(value, list | tuple):
        return []
    flat = (one for some in value for one in (some if isinstance(some, list) else [some]))
    return [one for one in flat if isinstance(one, Document)][:CANDIDATES]


def _candidate(document: Document) -> Candidate:
    score = score_of(document)
    return Candidate(
        id=document.id,
        title=Chunk.of(document).title or "",
        place=location(document),
        score=None if score is None else round(score, 6),
    )
