"""What composers share that place chunks at their true positions and recompute some tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.kvcache.composers.base import Composer
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.plan import Masked, Plan
from rag.kvcache.prefilled import Prefilled

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.store.base import Entry


class Repairing(Composer):
    """Composes chunks that were computed alone, and recomputes the tokens that `choose` names."""

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`."""
        entries = yield from self.entries(composition)
        buffer = yield from place(composition, entries)
        with composition.report.timed("choose"):
            chosen = yield from self.choose(composition, buffer)
        return (yield from recompute(composition, buffer, chosen))

    def entries(self, composition: Composition) -> Passes[list[Entry]]:
        """The chunks' states, which are placed before tokens are chosen."""
        return composition.chunk_entries()

    @abstractmethod
    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """The tokens to recompute.

        Args:
            composition: The prompt.
            buffer: Its states up to the suffix, unrepaired; must be as long afterwards.

        Returns:
            Places in the context, rising: [n].
        """


def place(composition: Composition, entries: Sequence[Entry | None]) -> Passes[KVBuffer]:
    """A buffer with the prefix and the chunks at their true positions, in order.

    Args:
        composition: The prompt.
        entries: Each chunk's states; None leaves its slots to be written.
    """
    import torch

    prefix = yield from composition.prefix_states()
    layout, buffer = composition.layout, composition.new_buffer()
    with composition.report.timed("compose"):
        buffer.place(*prefix, torch.arange(layout.start))
        for entry, (first, end) in zip(entries, layout.slots, strict=True):
            positions = torch.arange(first, end)
            if entry is None:
                buffer.hide(len(positions))
            else:
                tensors = entry.tensors
                buffer.place_unrotated(tensors["keys"], tensors["values"], positions)
    return buffer


def recompute(
    composition: Composition,
    buffer: KVBuffer,
    chosen: torch.Tensor,
    plan: Plan | None = None,
    unrotated: torch.Tensor | None = None,
) -> Passes[Prefilled]:
    """Recompute tokens where they stand, with the suffix behind them, in one pass.

    The pass writes the chosen tokens' states over the placed ones, layer by layer, before any token
    attends to them: with all tokens chosen this is full prefill.

    Args:
        composition: The prompt.
        buffer: Its states up to the suffix.
        chosen: Places in the context, rising: [n].
        plan: How the tokens attend; default: `Masked`.
        unrotated: See `Pass`.
    """
    import torch

    layout, report = composition.layout, composition.report
    slots = chosen + layout.start
    with report.timed("recompute"):
        ids = torch.cat([layout.context_ids[chosen], layout.suffix_ids])
        positions = torch.cat([slots, layout.suffix_positions])
        plan = plan or Masked()
        one = Pass(ids, positions, buffer, plan, rewrite=slots, unrotated=unrotated)
        logits = (yield one)[0]
    for chunk, (first, end) in zip(report.chunks, layout.bounds, strict=True):
        again = int(((chosen >= first) & (chosen < end)).sum())
        chunk.recomputed = again if chunk.hit else chunk.tokens
    return Prefilled(logits, buffer, layout.length, report)
