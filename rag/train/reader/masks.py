"""The attention under which the states of sources are reused, as a mask for training.

A reader that is to read states which were computed alone must be trained so (Block-Attention, Ma et
al. 2024, arXiv 2409.15355, section 2.4): a source sees the beginning and itself, the question sees
everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rag.prompts.layout import PromptTokens

if TYPE_CHECKING:
    import torch

Attention = Literal["full", "concat", "parallel"]
"""`full`: as a prompt is read that reuses nothing; the others as the composers of these names."""


def reused(
    tokens: PromptTokens, answer: int, attention: Attention
) -> tuple[torch.Tensor, torch.Tensor]:
    """Who sees whom, and where each token stands.

    `parallel` is exactly as its composer computes. With `concat` a source is as far from the
    beginning as it stands, while a stored state was computed right behind it: each token has one
    position here.

    Args:
        tokens: A prompt in parts.
        answer: Tokens behind it.
        attention: `concat`: sources at their true positions; `parallel`: all of them right behind
            the beginning, and what follows behind the longest.

    Returns:
        Booleans [tokens, tokens], true where a row sees a column; positions [tokens].
    """
    import torch

    prefix, chunks, suffix = tokens.plain
    sizes = [len(prefix), *map(len, chunks), len(suffix) + answer]
    total = sum(sizes)
    seen = torch.ones(total, total, dtype=torch.bool).tril()
    positions = torch.arange(total)
    start = len(prefix)
    for size in sizes[1:-1]:
        seen[start : start + size, len(prefix) : start] = False
        if attention == "parallel":
            positions[start : start + size] = torch.arange(len(prefix), len(prefix) + size)
        start += size
    if attention == "parallel":
        first = len(prefix) + max(map(len, chunks), default=0)
        positions[start:] = torch.arange(first, first + total - start)
    return seen, positions
