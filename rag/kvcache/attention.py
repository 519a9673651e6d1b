"""Attention by plan inside a transformers model.

Installed under a name of its own through transformers' `AttentionInterface`. A model that runs
without a plan attends as it always did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from rag.kvcache.masks import Masks
    from rag.kvcache.plan import Plan

NAME = "rag_composed"

# Not an argument of the model: some models do not pass on arguments that they do not know.
_CURRENT: ContextVar[tuple[Plan, Masks, int | None] | None] = ContextVar("plan", default=None)


class LayerReached(Exception):  # noqa: N818 - ends a pass whose other layers are not needed
    """The layer in which a pass stops has written its states."""


@contextmanager
def following(plan: Plan, masks: Masks, stop: int | None = None) -> Iterator[None]:
    """Let every attention in this context follow the plan.

    Args:
        plan: How tokens attend.
        masks: Who sees whom.
        stop: The layer whose attention raises `LayerReached`.
    """
    before = _CURRENT.set((plan, masks, stop))
    try:
        yield
    finally:
        _CURRENT.reset(before)


def cache_name(model: Any) -> str:
    """What the model's forward pass calls the cache: releases of transformers differ."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def install(model: Any) -> None:
    """Let a transformers model attend by plans."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(NAME)


def _mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Transformers' own mask (padding, sliding windows) where there is no plan."""
    if _CURRENT.get() is not None:
        return None
    from transformers.masking_utils import sdpa_mask

    mask: torch.Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers' `AttentionInterface` calls it.

    Args:
        module: The layer's attention module.
        query: [1, heads, queries, head_dim].
        key: [1, kv_heads, keys, head_dim].
        value: As `key`.
        attention_mask: Not used under a plan.
        scaling: Factor of the scores.
        kwargs: Other things that models pass on.

    Returns:
        [1, queries, heads, head_dim] and no weights.
    """
    current = _CURRENT.get()
    if current is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return output
    plan, masks, stop = current
    layer = int(module.layer_idx)
    if layer == stop:
        raise LayerReached
    scale = float(scaling if scaling is not None else query.shape[-1] ** -0.5)
    attended = plan.attend(masks, layer, query, key, value, scale)
    return attended.transpose(1, 2), None
