"""Parallel encoding written down as the formula says, with every mask explicit."""

from __future__ import annotations

from typing import Any

import torch

from rag.kvcache.attention import install
from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import ALL, CHUNKS, PREFIX, SUFFIX


class Dense:
    """Attention in which chunks do not see each other, merged by APE's T and S.

    Args:
        block: For each token the chunk that it belongs to; -1: prefix; -2: suffix.
        positions: Of the tokens.
        windows: Of each layer.
        t: T.
        s: S.
    """

    def __init__(
        self,
        block: list[int],
        positions: list[int],
        windows: tuple[int | None, ...],
        t: float,
        s: float,
    ) -> None:
        self.block, self.positions = torch.tensor(block), torch.tensor(positions)
        self.windows, self.t, self.s = windows, t, s

    def __call__(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: Any,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
        order = torch.arange(len(self.block))
        sees = order[:, None] >= order[None]
        mine, theirs = self.block[:, None], self.block[None]
        sees &= (theirs == -1) | (mine == theirs) | (mine == -2)
        window = self.windows[module.layer_idx]
        if window is not None:
            sees &= self.positions[:, None] - self.positions[None] < window
        context = ((mine == -2) & (theirs >= 0)).expand(scores.shape[-2:])
        scores = scores.masked_fill(~sees, float("-inf"))
        weights = torch.zeros_like(scores)
        rows = (self.block == -2).nonzero()[:, 0]
        plain = (self.block != -2).nonzero()[:, 0]
        weights[..., plain, :] = torch.softmax(scores[..., plain, :], -1)
        for row in rows.tolist():
            here = scores[..., row, :]
            among = context[row]
            c, o = here[..., among] / self.t, here[..., ~among]
            z_c, z_o = self.s * c.logsumexp(-1), o.logsumexp(-1)
            w_c = torch.sigmoid(z_c - z_o)[..., None].nan_to_num()
            weights[..., row, among] = w_c * torch.softmax(c, -1).nan_to_num()
            weights[..., row, ~among] = (1 - w_c) * torch.softmax(o, -1)
        return (weights @ value).transpose(1, 2).contiguous(), None


def dense_logits(engine: KVEngine, t: float = 1.0, s: float = 1.0) -> torch.Tensor:
    """The logits of the prompt under parallel encoding: [vocabulary]."""
    from transformers import AttentionInterface

    block = [-1] * len(PREFIX)
    positions = list(range(len(PREFIX)))
    for number, chunk in enumerate(CHUNKS):
        block += [number] * len(chunk)
        positions += range(len(PREFIX), len(PREFIX) + len(chunk))
    behind = len(PREFIX) + max(len(chunk) for chunk in CHUNKS)
    block += [-2] * len(SUFFIX)
    positions += range(behind, behind + len(SUFFIX))
    view = engine.view
    AttentionInterface.register("dense", Dense(block, positions, view.geometry.windows, t, s))
    view.model.set_attn_implementation("dense")
    try:
        with torch.inference_mode():
            found: torch.Tensor = view.model(
                torch.tensor([ALL]), position_ids=torch.tensor([positions]), use_cache=False
            ).logits[0, -1]
            return found.float()
    finally:
        install(view.model)
