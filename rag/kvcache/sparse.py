"""Sparse decoding: the answer attends to what the question reads of the context, and not to all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.layout import Layout
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.plan import Plan, attention_weights
from rag.kvcache.prefilled import Prefilled

if TYPE_CHECKING:
    import torch

    from rag.kvcache.masks import Masks

READING = 32
"""Tokens at the end of the question whose attention chooses."""
BLOCK = 16
"""Tokens of the context that are chosen together."""


@dataclass
class Reading(Plan):
    """As another plan; records how much attention each key head pays to each slot.

    Attributes:
        plan: The other plan.
        parts: Layer and position of a slice's first token to weights [kv_heads, slots], summed
            over queries and over the heads that share a key head.
    """

    plan: Plan
    parts: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `Plan.attend`."""
        weights = attention_weights(masks, layer, query, key, scale)
        self.parts[layer, int(masks.queries[0])] = weights[0].sum(1)
        return self.plan.attend(masks, layer, query, key, value, scale)

    def weights(self, layers: int) -> torch.Tensor:
        """Of all slices: [layers, kv_heads, slots]."""
        import torch

        return torch.stack(
            [
                torch.stack([part for (of, _), part in self.parts.items() if of == layer]).sum(0)
                for layer in range(layers)
            ]
        )


def narrowed(done: Prefilled, layout: Layout, budget: int) -> Passes[Prefilled]:
    """A prompt's states with less of the context, for decoding.

    The prefix (whose first tokens are attention sinks), the earlier turns, the question and the
    answer stay; of the context each key head of each layer keeps the blocks of tokens that the
    question's last tokens attend to most, as in SnapKV (Li et al. 2024, arXiv 2404.14469, section
    4). Where layers have sliding windows, all heads and layers keep the same blocks. Nothing is
    trained. It takes one short pass, which computes these tokens again.

    Args:
        done: The whole prompt's states.
        layout: The prompt.
        budget: Tokens of the context that are kept.

    Returns:
        `done` itself where the context has no more tokens.
    """
    import torch

    question = min(len(layout.question), READING)
    if budget >= len(layout.context) or not question:
        return done
    buffer, end = done.buffer, done.buffer.length
    last = torch.arange(end - question, end)
    ids = torch.tensor(layout.question[-question:])
    reading = Reading(done.plan)
    yield Pass(ids, buffer.positions[last].cpu(), buffer, reading, rewrite=last)
    positions = buffer.positions[:end]
    behind = done.position - len(layout.suffix)
    context = (positions >= layout.start) & (positions < behind)
    weights = reading.weights(buffer.geometry.layers)
    windows = any(window is not None for window in buffer.geometry.windows)
    if windows:
        weights = weights.mean((0, 1), keepdim=True).expand_as(weights)
    kept = _kept(weights, context, budget)
    small = KVBuffer(buffer.geometry, kept.shape[-1] + buffer.capacity - end)
    small.length = kept.shape[-1]
    index = kept[..., None].expand(-1, -1, -1, buffer.geometry.head_dim)
    small.keys[:, :, : small.length] = buffer.keys.gather(2, index)
    small.values[:, :, : small.length] = buffer.values.gather(2, index)
    # Heads keep different tokens, all of which stand before the question: any such place will do.
    places = positions if windows else positions.masked_fill(context, layout.start)
    small.positions[: small.length] = places[kept[0, 0]]
    done.report.sparse = budget
    return Prefilled(done.logits, small, done.position, done.report, done.plan.kept(budget))


def _kept(weights: torch.Tensor, context: torch.Tensor, budget: int) -> torch.Tensor:
    """The slots that each head keeps, in order: [layers, kv_heads, kept].

    Args:
        weights: Attention to each slot: [layers, kv_heads, slots].
        context: Whether each slot is of the context: [slots].
        budget: How many of these are kept.
    """
    import torch

    slots = context.nonzero()[:, 0]
    here = torch.nn.functional.pad(weights[..., slots], (0, -len(slots) % BLOCK))
    blocks = here.reshape(*here.shape[:-1], -1, BLOCK).sum(-1)
    each = blocks.repeat_interleave(BLOCK, dim=-1)[..., : len(slots)]
    best = each.argsort(dim=-1, descending=True, stable=True)[..., :budget]
    always = (~context).nonzero()[:, 0].expand(*weights.shape[:2], -1)
    return torch.cat([slots[best], always], dim=-1).sort(dim=-1).values
