"""What a run tells while it goes on. `node` is the path of the node in its flow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A step begins."""

    node: str


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A step ended well; `writes` are the channels it wrote."""

    node: str
    writes: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Reused:
    """A step did not run: its writes were taken from a `checkpoint` or the `cache`."""

    node: str
    writes: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """A step raised; the run ends unless something catches it."""

    node: str
    error: Exception
    seconds: float


@dataclass(frozen=True, slots=True)
class Retried:
    """Attempt number `attempt` of a step failed, another follows."""

    node: str
    attempt: int
    error: Exception


@dataclass(frozen=True, slots=True)
class FellBack:
    """A step failed for good, and its fallback runs instead."""

    node: str
    error: Exception


@dataclass(frozen=True, slots=True)
class BranchFailed:
    """A branch failed, and its join goes on without it (`on_error: skip`)."""

    node: str
    branch: str
    error: Exception


@dataclass(frozen=True, slots=True)
class BranchSkipped:
    """A route did not take this branch."""

    node: str
    branch: str


@dataclass(frozen=True, slots=True)
class LoopTurn:
    """A loop begins its turn number `turn`, counted from 1."""

    node: str
    turn: int


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text that a step produces on its way to its result."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A step went on, but somebody should know (a context that was cut, say)."""

    node: str
    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run stopped for a person's word; the last event of such a run."""

    node: str
    message: str
    channels: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The run ended well; the last event."""

    result: dict[str, Any]
    seconds: float
    llm_calls: int = 0
    tokens: int = 0


Event = (
    NodeStarted
    | NodeFinished
    | Reused
    | NodeFailed
    | Retried
    | FellBack
    | BranchFailed
    | BranchSkipped
    | LoopTurn
    | Token
    | Warned
    | Waiting
    | Done
)


def as_dict(event: Event) -> dict[str, Any]:
    """The event as a mapping: its fields, and its name under `event` (`node_started`)."""
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
    return {"event": _NAMES[type(event)], **fields}


_NAMES = {kind: re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Event)}
