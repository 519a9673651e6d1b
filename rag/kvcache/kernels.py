"""Attention kernels over grouped heads.

Queries of the heads that share a key head are folded into the rows of one matrix, so that keys and
values are never repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def fold(query: torch.Tensor, groups: int) -> torch.Tensor:
    """[1, heads, queries, head_dim] to [1, kv_heads, groups * queries, head_dim]."""
    batch, heads, count, width = query.shape
    return query.reshape(batch, heads // groups, groups * count, width)


def unfold(output: torch.Tensor, groups: int) -> torch.Tensor:
    """[1, kv_heads, groups * queries, head_dim] to [1, heads, queries, head_dim]."""
    batch, kv_heads, count, width = output.shape
    return output.reshape(batch, kv_heads * groups, count // groups, width)


def fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """Torch's fused attention.

    Args:
        query: Folded: [1, kv_heads, rows, head_dim].
        key: [1, kv_heads, keys, head_dim].
        value: As `key`.
        mask: Added to the scores: [rows, keys]; None: everything is seen.
        scale: Factor of the scores.

    Returns:
        As `query`.
    """
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, groups: int, scale: float
) -> torch.Tensor:
    """Torch's fused causal attention; the query [1, heads, tokens, head_dim] is not folded."""
    from torch.nn.functional import scaled_dot_product_attention

    key, value = (one.repeat_interleave(groups, dim=1) for one in (key, value))
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def masked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention under a mask, by whichever kernel is faster; arguments as for `fused`.

    In half precision on a processor two matrix products are 1.6 times as fast as torch's fused
    kernel. Scores are rounded as in transformers' own eager attention.
    """
    import torch

    if query.device.type != "cpu" or query.dtype == torch.float32:
        return fused(query, key, value, mask, scale)
    added = mask.expand(key.shape[1], -1, -1)
    scores = torch.baddbmm(added, query[0], key[0].transpose(-1, -2), alpha=scale)
    return (torch.softmax(scores, dim=-1) @ value[0])[None]


def scores(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention scores of a folded query in float32: [1, kv_heads, rows, keys]."""
    return (query @ key.transpose(-1, -2)).float().mul_(scale)
