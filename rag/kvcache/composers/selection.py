"""Rules for choosing tokens that several composers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rag.kvcache.passes import Pass, Passes
from rag.kvcache.plan import SlotAttention

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.layout import Layout
    from rag.kvcache.model import ModelView


def chunk_starts(layout: Layout, count: int, chunks: Sequence[int] | None = None) -> torch.Tensor:
    """The first tokens of chunks: EPIC's LegoLink (arXiv 2410.15332).

    Args:
        layout: The prompt.
        count: Tokens of each chunk.
        chunks: Their numbers; default: all but the first, which stands where it was computed.

    Returns:
        Places in the context: [n].
    """
    import torch

    bounds = layout.bounds[1:] if chunks is None else [layout.bounds[one] for one in chunks]
    starts = [torch.arange(first, min(first + count, end)) for first, end in bounds]
    return torch.cat(starts) if starts else torch.zeros(0, dtype=torch.long)


def middle_layers(layers: int) -> tuple[int, int]:
    """First and end of the layers whose attention chooses tokens, in a model of so many."""
    return layers // 4, max(1, 2 * layers // 3)


def context_attention(
    view: ModelView, layout: Layout, buffer: KVBuffer, layers: tuple[int, int] | None = None
) -> Passes[torch.Tensor]:
    """How much attention the question pays to each token of the context: [context].

    Arguments as of `query_attended`; the buffer is as long as before afterwards.
    """
    length = buffer.length
    first, end = layers or middle_layers(view.layers)
    attention = SlotAttention(frozenset(range(first, end)))
    yield Pass(layout.suffix_ids, layout.suffix_positions, buffer, attention, stop=end)
    buffer.cut(length)
    return attention.total[layout.start : layout.start + len(layout.context)]


def query_attended(
    view: ModelView,
    layout: Layout,
    buffer: KVBuffer,
    budget: int,
    chunks: Sequence[int],
    starts: float,
    layers: tuple[int, int] | None = None,
    most: Mapping[int, int] | None = None,
    last: torch.Tensor | None = None,
) -> Passes[torch.Tensor]:
    """The chunks' first tokens, and the tokens that the question attends to most.

    A pass of the suffix over the unrepaired states, through the lower layers only, measures how
    much attention each token gets, averaged over heads and summed over the middle layers: those
    choose as well as all, at half the cost. First tokens act as attention sinks of their own
    chunks, which they should not be in the middle of a prompt (EPIC). On NQ-open this kept more of
    full prefill's answers at equal budget than every published rule that was tried
    (`benchmarks/kv_quality.py`).

    Args:
        view: The model.
        layout: The prompt.
        buffer: Its states up to the suffix.
        budget: Tokens to choose.
        chunks: Numbers of the chunks whose states are not exact as they are.
        starts: Share of the budget for first tokens.
        layers: First layer and end of those whose attention counts; default: from a quarter of the
            model's layers to two thirds.
        most: Chunk to tokens of it at most; default: any number.
        last: Whether a token is chosen only where no other is left: [context]; default: none is.

    Returns:
        Places in the context, rising: [n].
    """
    import torch

    if not budget or not chunks:
        return torch.zeros(0, dtype=torch.long)
    weight = yield from context_attention(view, layout, buffer, layers)
    for number, (first, end) in enumerate(layout.bounds):
        if number not in chunks:
            weight[first:end] = -1
    each = int(starts * budget / len(chunks))
    weight[chunk_starts(layout, each, chunks).to(weight.device)] = float("inf")
    if last is not None:
        weight[last.to(weight.device) & (weight >= 0)] = 0
    for number, limit in (most or {}).items():
        part = weight[slice(*layout.bounds[number])]
        part[part.argsort(descending=True, stable=True)[limit:]] = -1
    available = int((weight >= 0).sum())
    return weight.topk(min(budget, available)).indices.sort().values.cpu()
