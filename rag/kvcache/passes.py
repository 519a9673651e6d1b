"""What is asked of a model while it decodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.kvcache.buffer import KVBuffer


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over tokens in a row, whose logits are all wanted.

    Attributes:
        ids: The tokens.
        position: Of the first.
        buffer: The states so far; those of the tokens are appended.
        plan: Fields of `attention.Plan` besides the positions.
    """

    ids: Sequence[int]
    position: int
    buffer: KVBuffer
    plan: dict[str, Any] = field(default_factory=dict)
