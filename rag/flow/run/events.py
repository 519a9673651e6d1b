"""What a run reports while it goes on: typed events, each with its run, place and time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rag.flow.place import Place

if TYPE_CHECKING:
    from rag.flow.run.record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Args:
        place: The occurrence of the node that it is about; the empty place: the run itself.
        run: The run's id.
        time: Seconds since 1970.
    """

    place: Place
    run: str
    time: float

    @property
    def node(self) -> str:
        """The node's place in the flow as text, without items, turns and depths."""
        return str(self.place.static)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A step begins; `reads` are its arguments by parameter."""

    reads: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFinished(Event):
    """A step ended well; `writes` are the channels it wrote."""

    writes: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused(Event):
    """A node did not run: its writes were taken from a `checkpoint` or the `cache`."""

    writes: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed(Event):
    """A step raised; the run ends unless something catches it."""

    error: Exception
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(Event):
    """Attempt number `attempt` of a node failed, another follows."""

    attempt: int
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(Event):
    """A node failed for good, and its fallback runs instead."""

    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchFailed(Event):
    """A branch failed, and its node goes on without it (`on_error: skip`)."""

    branch: str
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchSkipped(Event):
    """A route did not take this branch, or a quorum or race ended without it."""

    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopTurn(Event):
    """A loop begins its turn number `turn`, counted from 1."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Event):
    """A piece of text that a step produces on its way to its result."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalled(Event):
    """A step called a language model.

    Args:
        model: The model's id.
        prompt: The messages as sent: mappings of `role` and `content`.
        output: The text that came back.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the output.
        seconds: What the call took.
        reuse: What of the prompt's states was reused and computed, where it is known.
    """

    model: str
    prompt: tuple[Mapping[str, str], ...]
    output: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    reuse: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom(Event):
    """What an operator reports by `ctx.emit`."""

    name: str
    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """A step went on, but somebody should know (a context that was cut, say)."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Event):
    """The run paused for human approval; one for each place that waits, the run's last events."""

    message: str
    channels: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    """The run ended well; the last event."""

    result: dict[str, Any]
    seconds: float
    llm_calls: int = 0
    tokens: int = 0
    record: RunRecord | None = field(default=None, repr=False, compare=False)
    """What can be read of the run: channels, occurrences, prompts."""

    def _repr_html_(self) -> str | None:
        """The record in a notebook."""
        return None if self.record is None else self.record._repr_html_()


def as_dict(event: Event) -> dict[str, Any]:
    """The event as a mapping: its fields, `node`, and its name under `event` (`node_started`)."""
    fields = {
        name: getattr(event, name) for name in type(event).__dataclass_fields__ if name != "record"
    }
    return {"event": name_of(type(event)), "node": event.node, **fields, "place": str(event.place)}


def name_of(kind: type[Event]) -> str:
    """The name of a kind of event: `node_started`."""
    return _NAMES[kind]


_NAMES: dict[type[Event], str] = {
    kind: re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower() for kind in Event.__subclasses__()
}
KINDS: dict[str, type[Event]] = {name: kind for kind, name in _NAMES.items()}
"""Name to kind of event, to filter by."""
