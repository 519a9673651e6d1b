"""A prompt whose states are ready: what decoding starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rag.kvcache.plan import Masked, Plan

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.report import Report


@dataclass
class Prefilled:
    """A prompt's states, and the logits behind its last token.

    Attributes:
        logits: Of the answer's first token: [vocabulary].
        buffer: The states, with room for the answer.
        position: Where the answer's first token stands.
        report: What was reused and computed.
        plan: How the answer's tokens attend.
        length: Slots of the buffer that the prompt takes.
        answer: The tokens decoded so far, without the one that ended the answer.
    """

    logits: torch.Tensor
    buffer: KVBuffer
    position: int
    report: Report
    plan: Plan = field(default_factory=Masked)
    length: int = field(init=False)
    answer: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.length = self.buffer.length
