"""One pass of a model over some tokens: the unit of prefill, repair and decoding."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from rag.kvcache.plan import Masked, Plan

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer

T = TypeVar("T")
Passes = Generator["Pass", "torch.Tensor", T]
"""Work of a model: yields passes of any size, is sent the logits of each, and returns a result."""

SLICE = 256
"""Tokens that a model computes at once at most: larger passes are divided, by who runs them."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What a model computes at once, or in slices.

    Attributes:
        ids: Token ids: [tokens].
        positions: Where each token stands: [tokens]. No token sees one behind it in this order.
        buffer: The states so far; those of the tokens are written into it.
        plan: How the tokens attend.
        rewrite: Slots [n] that the first n tokens write again; the others are appended.
        logits: Whose logits are needed: the last token's, or all.
        stop: The pass ends in this layer, once its keys and values are in the buffer: neither this
            layer's attention nor logits are computed.
        unrotated: Receives the tokens' keys before rotation:
            [layers, kv_heads, tokens, head_dim].
    """

    ids: torch.Tensor
    positions: torch.Tensor
    buffer: KVBuffer
    plan: Plan = field(default_factory=Masked)
    rewrite: torch.Tensor | None = None
    logits: Literal["last", "all"] = "last"
    stop: int | None = None
    unrotated: torch.Tensor | None = None

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

    def divide(self, tokens: int) -> tuple[Pass, Pass | None]:
        """The first tokens as a pass, and the others as another, to be made after it.

        Both together give the states and logits of the whole: no token sees one behind it, and
        every layer of the second pass sees what the first one has written.

        Args:
            tokens: Of the first pass; at least 1.

        Returns:
            This pass and None, where it has no more tokens.
        """
        if tokens >= len(self.ids):
            return self, None
        parts = []
        for first, end in ((0, tokens), (tokens, len(self.ids))):
            rewrite = None if self.rewrite is None else self.rewrite[first:end]
            unrotated = None if self.unrotated is None else self.unrotated[:, :, first:end]
            part = replace(
                self,
                ids=self.ids[first:end],
                positions=self.positions[first:end],
                plan=self.plan.behind(first),
                rewrite=rewrite,
                unrotated=unrotated,
            )
            parts.append(part)
        return parts[0], parts[1]


class Slices:
    """A pass that is made in slices.

    Attributes:
        rest: What is left to compute; None: nothing.

    Args:
        whole: The pass.
    """

    def __init__(self, whole: Pass) -> None:
        self.rest: Pass | None = whole
        self._all = whole.logits == "all"
        self._logits: list[torch.Tensor] = []

    def take(self, tokens: int) -> Pass:
        """The next slice, of at most so many tokens; its logits must be added before another."""
        assert self.rest is not None  # noqa: S101 - nobody takes from nothing
        one, self.rest = self.rest.divide(tokens)
        return one

    def add(self, logits: torch.Tensor) -> None:
        """Add the logits of the slice that was taken last."""
        if self._all:
            self._logits.append(logits)
        else:
            self._logits = [logits]

    @property
    def logits(self) -> torch.Tensor:
        """Of the whole pass: [1, vocabulary], or [tokens, vocabulary]."""
        import torch

        return torch.cat(self._logits) if len(self._logits) > 1 else self._logits[0]


def run(work: Passes[T], steps: Callable[[list[Pass]], list[torch.Tensor]]) -> T:
    """Make all passes of some work, one by one.

    Args:
        work: What to compute.
        steps: Makes passes: `ModelView.steps`.
    """
    logits: torch.Tensor | None = None
    while True:
        try:
            slices = Slices(work.send(logits))  # type: ignore[arg-type]  # None begins it
        except StopIteration as end:
            result: T = end.value
            return result
        while slices.rest is not None:
            slices.add(steps([slices.take(SLICE)])[0])
        logits = slices.logits
