"""One pass of a model over some tokens: the unit of prefill, repair and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from rag.kvcache.plan import Masked, Plan

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What a model computes at once.

    Attributes:
        ids: Token ids: [tokens].
        positions: Where each token stands: [tokens], in any order.
        buffer: The states so far; those of the tokens are written into it.
        plan: How the tokens attend.
        rewrite: Slots [n] that the first n tokens write again; the others are appended.
        logits: Whose logits are needed: the last token's, or all.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    buffer: KVBuffer
    plan: Plan = field(default_factory=Masked)
    rewrite: torch.Tensor | None = None
    logits: Literal["last", "all"] = "last"

    @classmethod
    def consecutive(
        cls, ids: Sequence[int], start: int, buffer: KVBuffer, plan: Plan | None = None
    ) -> Self:
        """Tokens one behind another, appended, whose logits are all needed.

        Args:
            ids: Token ids.
            start: Position of the first.
            buffer: The states so far.
            plan: How the tokens attend.
        """
        import torch

        positions = torch.arange(start, start + len(ids))
        return cls(torch.tensor(ids), positions, buffer, plan or Masked(), logits="all")
