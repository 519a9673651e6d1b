"""Attention over composed states: masks from true positions, and a context weighed apart.

Installed under a name of its own through transformers' `AttentionInterface`. A model that runs
without a `Plan` attends as it always did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "rag_composed"
_ROWS = 128
"""Queries looked at together under a mask: a group of them is spared the keys behind its last."""


@dataclass
class Plan:
    """What one pass may see.

    Attributes:
        queries: Positions of the pass's tokens: [queries].
        keys: Positions of all slots: [keys].
        windows: Each layer's sliding window, or None.
        groups: Query heads per key head.
        causal: Queries and keys are the same tokens in their order, from the first.
        context: Slots of the chunks, where they are to be weighed apart (APE).
        temperature: T of APE, which the scores over the context are divided by.
        scale: S of APE, which the context's log-sum-exp is multiplied by.
        segments: Of a packed pass: slots (first, end) of each segment and of what all of them
            may see before (the prefix, from 0).
        shared: How many slots, from 0, every segment sees.
        watch: Layers whose attention weights are summed into `seen`.
        seen: Weight that each slot got, summed over watched queries and layers, averaged over
            heads: [keys].
        bounds: Slots of each chunk (first, end), in a pass that measures chunks' attention.
        measured: Number of such a chunk to its tokens in the pass (first, end).
        pairs: Measured chunk and chunk up to it to the weight that each of its tokens gave:
            [tokens], summed over the watched layers, averaged over heads.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    windows: list[int | None]
    groups: int
    causal: bool = False
    context: tuple[int, int] | None = None
    temperature: float = 1.0
    scale: float = 1.0
    segments: list[tuple[int, int]] = field(default_factory=list)
    shared: int = 0
    watch: frozenset[int] = frozenset()
    seen: torch.Tensor | None = None
    bounds: list[tuple[int, int]] = field(default_factory=list)
    measured: dict[int, tuple[int, int]] = field(default_factory=dict)
    pairs: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    _masks: dict[Any, torch.Tensor] = field(default_factory=dict)
    _groups: dict[Any, list[tuple[slice, slice, torch.Tensor]]] = field(default_factory=dict)

    def mask(self, window: int | None, start: int, stop: int, like: torch.Tensor) -> torch.Tensor:
        """What queries may see of the slots from start to stop: 0 or -inf, [groups * queries, n].

        A key is seen from its own position on, and within the window.
        """
        import torch

        place = (window, start, stop, like.dtype)
        if place not in self._masks:
            allowed = self.allowed(window, start, stop)
            made = torch.zeros(allowed.shape, dtype=like.dtype, device=like.device)
            made.masked_fill_(~allowed, float("-inf"))
            self._masks[place] = made.repeat(self.groups, 1)
        return self._masks[place]

    def allowed(self, window: int | None, start: int, stop: int) -> torch.Tensor:
        """Truth values [queries, stop - start]."""
        distance = self.queries[:, None] - self.keys[None, start:stop]
        allowed = distance >= 0
        return allowed if window is None else allowed & (distance < window)

    def groups_of(
        self, window: int | None, dtype: torch.dtype
    ) -> list[tuple[slice, slice, torch.Tensor]]:
        """Queries in groups, the keys that any of a group may see, and the mask over them.

        Where keys stand in the order of their positions, as repaired prompts do, a group near the
        beginning looks at few of them: half of the work on average.
        """
        import torch

        if window not in self._groups:
            keys, queries = self.keys, self.queries
            ordered = bool((keys[1:] >= keys[:-1]).all())
            made = []
            for start in range(0, len(queries), _ROWS):
                rows = slice(start, min(start + _ROWS, len(queries)))
                first, end = 0, len(keys)
                if ordered:
                    end = int(torch.searchsorted(keys, queries[rows].max(), right=True))
                    if window is not None:
                        first = int(torch.searchsorted(keys, queries[rows].min() - window + 1))
                distance = queries[rows, None] - keys[None, first:end]
                hidden = distance < 0
                if window is not None:
                    hidden |= distance >= window
                mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
                mask = mask.masked_fill_(hidden, float("-inf")).repeat(self.groups, 1)
                made.append((rows, slice(first, end), mask))
            self._groups[window] = made
        return self._groups[window]

    def sees_all(self, window: int | None, start: int, stop: int) -> bool:
        """Whether every query sees every one of these slots."""
        place = ("all", window, start, stop)
        if place not in self._masks:
            keys, queries = self.keys[start:stop], self.queries
            everything = bool(stop == start or keys.max() <= queries.min()) and (
                window is None or bool(queries.max() - keys.min() < window)
            )
            import torch

            self._masks[place] = torch.tensor(everything)
        return bool(self._masks[place])


# Not an argument of the model: some do not hand on what they do not know.
_PLAN: ContextVar[Plan | None] = ContextVar("plan", default=None)


@contextmanager
def following(plan: Plan) -> Iterator[None]:
    """Let every attention in this context follow the plan."""
    before = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(before)


def install(model: Any) -> None:
    """Let the model attend by plans."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(NAME)


def _mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Transformers' own mask where no plan makes one (padding, sliding windows)."""
    if _PLAN.get() is not None:
        return None
    from transformers.masking_utils import sdpa_mask

    found: torch.Tensor | None = sdpa_mask(*args, **kwargs)
    return found


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface.

    Args:
        module: The layer's attention module.
        query: [1, heads, queries, head_dim].
        key: [1, kv_heads, keys, head_dim].
        value: As `key`.
        attention_mask: Not used under a plan.
        scaling: What scores are multiplied by.
        kwargs: Other things that models pass on.

    Returns:
        [1, queries, heads, head_dim] and no weights.
    """
    plan = _PLAN.get()
    if plan is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return found
    scale = float(scaling if scaling is not None else query.shape[-1] ** -0.5)
    return attended(plan, int(module.layer_idx), query, key, value, scale).transpose(1, 2), None


def attended(
    plan: Plan,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Attention of one layer under a plan.

    Args:
        plan: What may be seen.
        layer: Its number.
        query: [1, heads, queries, head_dim].
        key: [1, kv_heads, keys, head_dim].
        value: As `key`.
        scale: What scores are multiplied by.

    Returns:
        As `query`.
    """
    window = plan.windows[layer]
    if plan.measured and layer in plan.watch:
        _measure(plan, query, key, window, scale)
    if plan.segments:
        return _packed(plan, query, key, value, window, scale)
    if layer in plan.watch and not plan.measured:
        return _watched(plan, query, key, value, window, scale)
    if plan.context is not None:
        return _weighed(plan, query, key, value, window, scale)
    if plan.causal and (window is None or key.shape[2] <= window):
        return _causal(plan, query, key, value, scale)
    if plan.sees_all(window, 0, key.shape[2]):
        return _unfold(_fused(_fold(query, plan.groups), key, value, None, scale), plan.groups)
    return _masked(plan, query, key, value, window, scale)


def _masked(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    window: int | None,
    scale: float,
) -> torch.Tensor:
    import torch

    out = torch.empty_like(query)
    # Half precision on a processor: two matrix products are 1.6 times as fast as torch's fused
    # kernel. Scores are rounded as transformers' own eager attention rounds them.
    products = query.device.type == "cpu" and query.dtype != torch.float32
    for rows, seen, mask in plan.groups_of(window, query.dtype):
        folded = _fold(query[:, :, rows], plan.groups)
        keys, values = key[:, :, seen], value[:, :, seen]
        if products:
            added = mask.expand(keys.shape[1], -1, -1)
            scores = torch.baddbmm(added, folded[0], keys[0].transpose(-1, -2), alpha=scale)
            part = (torch.softmax(scores, dim=-1) @ values[0])[None]
        else:
            part = _fused(folded, keys, values, mask, scale)
        out[:, :, rows] = _unfold(part, plan.groups)
    return out


def _fold(query: torch.Tensor, groups: int) -> torch.Tensor:
    """Queries of the heads that share a key head, one after another: keys are not repeated."""
    batch, heads, count, width = query.shape
    return query.reshape(batch, heads // groups, groups * count, width)


def _unfold(out: torch.Tensor, groups: int) -> torch.Tensor:
    batch, kv_heads, count, width = out.shape
    return out.reshape(batch, kv_heads * groups, count // groups, width)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _causal(
    plan: Plan, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    from torch.nn.functional import scaled_dot_product_attention

    key, value = (one.repeat_interleave(plan.groups, dim=1) for one in (key, value))
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def _packed(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    window: int | None,
    scale: float,
) -> torch.Tensor:
    """Each segment sees what is shared and itself (Prepacking, arXiv 2404.09529, section 3)."""
    import torch

    out = torch.empty_like(query)
    base = key.shape[2] - query.shape[2]
    shared = slice(0, plan.shared)
    for first, end in plan.segments:
        own = slice(base + first, base + end)
        keys = torch.cat([key[:, :, shared], key[:, :, own]], dim=2)
        values = torch.cat([value[:, :, shared], value[:, :, own]], dim=2)
        place = ("segment", window, end - first, plan.shared, query.dtype)
        if place not in plan._masks:
            positions = torch.cat([plan.keys[shared], plan.keys[own]])
            distance = plan.queries[first:end, None] - positions[None]
            allowed = distance >= 0
            if window is not None:
                allowed &= distance < window
            made = torch.zeros(allowed.shape, dtype=query.dtype, device=query.device)
            plan._masks[place] = made.masked_fill_(~allowed, float("-inf")).repeat(plan.groups, 1)
        folded = _fold(query[:, :, first:end], plan.groups)
        part = _fused(folded, keys, values, plan._masks[place], scale)
        out[:, :, first:end] = _unfold(part, plan.groups)
    return out


def _watched(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    window: int | None,
    scale: float,
) -> torch.Tensor:
    """Attention whose weights are needed: few queries, so that the matrix is small."""
    import torch

    folded = _fold(query, plan.groups)
    scores = (folded @ key.transpose(-1, -2)).float() * scale
    weights = torch.softmax(scores + plan.mask(window, 0, key.shape[2], scores), dim=-1)
    count = query.shape[2]
    shaped = weights.reshape(-1, plan.groups, count, key.shape[2])
    got = shaped.sum(2).mean((0, 1))
    plan.seen = got if plan.seen is None else plan.seen + got
    return _unfold(weights.to(value.dtype) @ value, plan.groups)


def _measure(
    plan: Plan, query: torch.Tensor, key: torch.Tensor, window: int | None, scale: float
) -> None:
    """Add what each chunk's tokens look at, a chunk at a time: never the whole matrix."""
    import torch

    for index, (first, last) in plan.measured.items():
        end = plan.bounds[index][1]
        folded = _fold(query[:, :, first:last], plan.groups)
        scores = (folded @ key[:, :, :end].transpose(-1, -2)).float() * scale
        allowed = plan.allowed(window, 0, end)[first:last].repeat(plan.groups, 1)
        weights = torch.softmax(scores.masked_fill_(~allowed, float("-inf")), dim=-1)
        shaped = weights.reshape(-1, plan.groups, last - first, end).mean((0, 1))
        for other, (start, stop) in enumerate(plan.bounds[: index + 1]):
            got = shaped[:, start:stop].sum(-1).cpu()
            plan.pairs[index, other] = plan.pairs.get((index, other), 0) + got


def _weighed(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    window: int | None,
    scale: float,
) -> torch.Tensor:
    """Adaptive parallel encoding (arXiv 2502.05431, section 4).

    The scores over the context are divided by T, its log-sum-exp L is multiplied by S, and the
    context merges with the rest by their log-sum-exps. That is one softmax in float32 over scores
    to which (S - 1) L is added in the context.
    """
    import torch

    assert plan.context is not None  # noqa: S101 - the caller looked
    first, end = plan.context
    everything = plan.sees_all(window, 0, key.shape[2])
    out = torch.empty_like(query)
    for rows, seen, mask in plan.groups_of(window, torch.float32):
        folded = _fold(query[:, :, rows], plan.groups)
        scores = (folded @ key[:, :, seen].transpose(-1, -2)).float().mul_(scale)
        if not everything:
            scores += mask
        context = scores[..., max(first - seen.start, 0) : max(end - seen.start, 0)]
        log = context.div_(plan.temperature).logsumexp(-1, keepdim=True)
        # Where a query sees nothing of the context there is nothing to scale.
        context += (plan.scale - 1) * log.nan_to_num(neginf=0.0)
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        out[:, :, rows] = _unfold(weights @ value[:, :, seen], plan.groups)
    return out
