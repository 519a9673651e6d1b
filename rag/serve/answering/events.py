"""What happens to a question, and what clients see of it: names and JSON of the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag.flow import Place
from rag.flow.run import events
from rag.plain import summary
from rag.serve.answer import Answer
from rag.serve.errors import problem_of


@dataclass(frozen=True, slots=True)
class Began:
    """A question was admitted."""

    run: str
    pipeline: str
    conversation: str | None


@dataclass(frozen=True, slots=True)
class Queued:
    """A question waits; `before` others come first."""

    before: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A question that referred to its conversation was made to stand alone."""

    query: str


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A piece of the final answer."""

    node: str
    place: Place
    text: str


AnswerEvent = Began | Queued | Rewritten | AnswerToken | events.Event | Answer
"""What happens to a question; the `Answer` is the last one."""

_SENT: Mapping[type, tuple[str, tuple[str, ...]]] = {
    Began: ("run", ("run", "pipeline", "conversation")),
    Queued: ("queued", ("before",)),
    Rewritten: ("rewritten", ("query",)),
    AnswerToken: ("token", ("node", "place", "text")),
    events.Token: ("token", ("node", "place", "text")),
    events.NodeStarted: ("node_started", ("node", "place")),
    events.NodeFinished: ("node_finished", ("node", "place", "writes", "seconds")),
    events.Reused: ("reused", ("node", "place", "writes", "source")),
    events.NodeFailed: ("node_failed", ("node", "place", "error", "seconds")),
    events.Retried: ("retried", ("node", "place", "attempt", "error")),
    events.FellBack: ("fell_back", ("node", "place", "error")),
    events.BranchFailed: ("branch_failed", ("node", "place", "branch", "error")),
    events.BranchSkipped: ("branch_skipped", ("node", "place", "branch")),
    events.LoopTurn: ("loop_turn", ("node", "place", "turn")),
    events.Warned: ("warned", ("node", "place", "message")),
}
"""Class to name and fields; nothing else of a run leaves the server."""


def encoded(event: AnswerEvent) -> tuple[str, dict[str, Any]] | None:
    """An event's name and JSON; None if clients do not get it."""
    if isinstance(event, Answer):
        return "done", event.model_dump()
    if type(event) not in _SENT:
        return None
    name, fields = _SENT[type(event)]
    data = {field: _value(field, getattr(event, field)) for field in fields}
    if name == "token":
        data["answer"] = isinstance(event, AnswerToken)
    return name, data


def _value(field: str, value: Any) -> Any:
    match field:
        case "place":
            return str(value)
        case "writes":
            return {channel: summary(written)[:120] for channel, written in value.items()}
        case "error":
            problem = problem_of(value)
            return {"code": problem.code, "what": problem.what, "fix": problem.fix}
        case "seconds":
            return round(value, 6)
    return value
