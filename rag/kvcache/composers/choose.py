"""Which tokens of the context are computed again: one rule per mode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any

from rag.kvcache.buffer import KVBuffer

if TYPE_CHECKING:
    import torch

    from rag.kvcache.model import ModelView


class Prompt:
    """A prompt laid out: prefix, then the chunks at their true positions, then the suffix.

    Args:
        prefix: Token ids.
        chunks: Token ids of each chunk.
        suffix: Token ids: the question and what the template puts behind it.
    """

    def __init__(
        self, prefix: Sequence[int], chunks: Sequence[Sequence[int]], suffix: Sequence[int]
    ) -> None:
        import torch

        self.prefix, self.suffix = list(prefix), list(suffix)
        self.chunks = [list(chunk) for chunk in chunks]
        self.context = [one for chunk in chunks for one in chunk]
        self.bounds: list[tuple[int, int]] = []
        """Of each chunk in the context: first and end."""
        end = 0
        for chunk in chunks:
            self.bounds.append((end, end + len(chunk)))
            end += len(chunk)
        self.start = len(self.prefix)
        self.length = self.start + end + len(self.suffix)
        self.context_ids = torch.tensor(self.context, dtype=torch.long)
        self.suffix_ids = torch.tensor(self.suffix, dtype=torch.long)
        self.suffix_positions = torch.arange(self.start + end, self.length)


def starts(prompt: Prompt, count: int, chunks: Sequence[int] | None = None) -> torch.Tensor:
    """The first tokens of chunks: EPIC's LegoLink (arXiv 2410.15332).

    Args:
        prompt: The prompt.
        count: Tokens of each.
        chunks: Their numbers; default: all but the first, which stands where it was computed.

    Returns:
        Places in the context.
    """
    import torch

    bounds = prompt.bounds[1:] if chunks is None else [prompt.bounds[one] for one in chunks]
    found = [torch.arange(first, min(first + count, end)) for first, end in bounds]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long)


def at_random(prompt: Prompt, fraction: float, seed: int) -> torch.Tensor:
    """A share of the context, by chance."""
    import torch

    count = ceil(fraction * len(prompt.context))
    order = torch.randperm(len(prompt.context), generator=torch.Generator().manual_seed(seed))
    return order[:count].sort().values


class _Enough(Exception):  # noqa: N818 - no error: the pass has told what was wanted
    pass


class _Probe(KVBuffer):
    """Ends the pass at the layer whose values were wanted."""

    def __init__(self, view: ModelView, capacity: int, layer: int) -> None:
        super().__init__(view, capacity)
        self._layer = layer
        self.found: torch.Tensor | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if layer_idx == self._layer:
            self.found = value_states[0]
            raise _Enough
        return super().update(key_states, value_states, layer_idx)


def deviating(view: ModelView, prompt: Prompt, buffer: KVBuffer, fraction: float) -> torch.Tensor:
    """The share of the context whose values at layer 1 differ most from the stored ones.

    CacheBlend (arXiv 2405.16444, section 4.2): layer 0 is computed for all tokens, and at
    layer 1 the squared distance of the values, summed over heads, tells which to go on with.
    """
    import torch

    layer = min(1, view.layers - 1)
    tokens = prompt.start + len(prompt.context)
    probe = _Probe(view, tokens, layer)
    ids = torch.cat([torch.tensor(prompt.prefix, dtype=torch.long), prompt.context_ids])
    with suppress(_Enough):
        view.forward(ids, torch.arange(tokens), probe)
    assert probe.found is not None  # noqa: S101 - the probe ends the pass there
    new = probe.found[:, prompt.start :].float()
    old = buffer.values[layer, :, prompt.start : tokens].float()
    far = (new - old).square().sum((0, 2))
    return far.topk(ceil(fraction * len(prompt.context))).indices.sort().values.cpu()


def asked_for(
    view: ModelView,
    prompt: Prompt,
    buffer: KVBuffer,
    budget: int,
    chunks: Sequence[int],
    beginnings: float,
) -> torch.Tensor:
    """The tokens that the question looks at most, and the chunks' beginnings.

    One pass of the suffix over the unrepaired states tells how much attention each token gets,
    averaged over heads and summed over every second layer. The beginnings act as attention sinks
    of their own chunks, which they should not be in the middle of a prompt (EPIC). On NQ-open
    this kept more of full prefill's answers at equal budget than every published rule
    (`benchmarks/kv_quality.py`).

    Args:
        view: The model.
        prompt: The prompt.
        buffer: Its states up to the suffix.
        budget: Tokens to be chosen.
        chunks: Numbers of the chunks whose states are not exact as they are.
        beginnings: Share of the budget for the beginnings.

    Returns:
        Places in the context, in their order.
    """
    import torch

    if not budget or not chunks:
        return torch.zeros(0, dtype=torch.long)
    length = buffer.length
    watch = frozenset(range(0, view.layers, 2))
    seen = view.seen(prompt.suffix_ids, prompt.suffix_positions, buffer, watch)
    buffer.cut(length)
    weight = seen[prompt.start : prompt.start + len(prompt.context)].clone()
    for number, (first, end) in enumerate(prompt.bounds):
        if number not in chunks:
            weight[first:end] = -1
    share = int(beginnings * budget / len(chunks))
    weight[starts(prompt, share, chunks).to(weight.device)] = float("inf")
    return weight.topk(min(budget, len(weight))).indices.sort().values.cpu()
