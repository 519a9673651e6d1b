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

    Args:
        message: The question.
        show: The channels that the person sees.
        edit: The channels that the person may change, and sees as well.
        name: The node's own name in places.
    """

    key = "interrupt"
    message: str = part(where="inside", schema={"type": "string"})
    show: tuple[str, ...] = part("texts", "inside", default=(), schema=_TEXTS)
    edit: tuple[str, ...] = part("texts", "inside", default=(), schema=_TEXTS)
    name: str | None = part(default=None, schema={"type": "string"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "show", texts("show", self.show))
        object.__setattr__(self, "edit", texts("edit", self.edit))
