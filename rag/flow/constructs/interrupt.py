"""`Interrupt`: a pause for human approval."""

from __future__ import annotations

from dataclasses import dataclass

from rag.flow.constructs.checks import texts
from rag.flow.node import Construct, part

_TEXTS = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


@dataclass(frozen=True)
class Interrupt(Construct):
    """Pauses the run for human approval; resuming it is the approval.

    Where the person may refuse, too, `answer` names a channel for a `Route` behind it.

    Args:
        message: The question.
        show: The channels that the person sees.
        edit: The channels that the person may change, and sees as well.
        answer: A channel that tells whether the person approved: true where the run is resumed,
            false where it is resumed with this channel set to false.
        name: The node's own name in places.
    """

    yaml_key = "interrupt"
    message: str = part(where="inside", schema={"type": "string"})
    show: tuple[str, ...] = part("texts", "inside", default=(), schema=_TEXTS)
    edit: tuple[str, ...] = part("texts", "inside", default=(), schema=_TEXTS)
    answer: str | None = part(where="inside", default=None, schema={"type": "string"})
    name: str | None = part(default=None, schema={"type": "string"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "show", texts("show", self.show))
        object.__setattr__(self, "edit", texts("edit", self.edit))
