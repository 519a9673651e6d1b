"""The map that brings a chunk's states, computed alone, to what they would be in context."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FIRST = 8
"""Tokens of a chunk that have a bias each."""
PLACES = FIRST + 3
"""Numbers that describe a token's place in its chunk."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A linear map of low rank for each layer.

    Of a token at place i of its chunk, let x be the keys (before rotation) and the values of all
    heads of one layer, computed without the other chunks. In context they are about

        x + (x A + p(i) P) B

    with A = `down`, P = `place`, B = `up`, and p(i) the features of the place (`places`).

    Attributes:
        down: [layers, 2 * width, rank], where width is kv_heads * head_dim.
        place: [layers, PLACES, rank].
        up: [layers, rank, 2 * width].
    """

    down: torch.Tensor
    place: torch.Tensor
    up: torch.Tensor

    @property
    def rank(self) -> int:
        """Of the map of each layer."""
        return int(self.up.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the numbers, hexadecimal: what was stored under one map is not another's."""
        digest = hashlib.sha256()
        for one in (self.down, self.place, self.up):
            digest.update(f"{tuple(one.shape)}".encode())
            digest.update(one.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def fits(self, layers: int, width: int) -> bool:
        """Whether the map is for states of this shape, and all its numbers are finite."""
        rank = self.rank
        shapes = [tuple(one.shape) for one in (self.down, self.place, self.up)]
        expected = [(layers, 2 * width, rank), (layers, PLACES, rank), (layers, rank, 2 * width)]
        return shapes == expected and all(
            bool(one.isfinite().all()) for one in (self.down, self.place, self.up)
        )

    def states(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """As `apply`, of a stored entry's `keys` and `values`."""
        keys, values = self.apply(tensors["keys"], tensors["values"])
        return {"keys": keys, "values": values}

    def apply(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The states of a chunk as they are expected to be behind other chunks.

        Args:
            keys: Before rotation, computed alone: [layers, kv_heads, tokens, head_dim].
            values: As `keys`.

        Returns:
            Keys and values of the same shape and number format.
        """
        import torch

        states = flatten(keys, values)
        down, place, up = (one.to(states.device) for one in (self.down, self.place, self.up))
        code = torch.bmm(states, down) + places(states.shape[1]).to(states.device) @ place
        return unflatten(torch.baddbmm(states, code, up), keys)


def places(tokens: int) -> torch.Tensor:
    """Features of a token's place in its chunk: [tokens, PLACES].

    One for each of the first tokens, which attend as the beginnings of texts do, a constant, and
    two that change slowly.
    """
    import torch

    place = torch.arange(tokens, dtype=torch.float32)
    slow = [torch.ones(tokens), place.log1p() / 5, 1 / (1 + place)]
    return torch.cat([torch.eye(tokens, FIRST), torch.stack(slow, dim=1)], dim=1)


def flatten(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Keys and values of all heads side by side in float32: [layers, tokens, 2 * width]."""
    import torch

    both = torch.cat([keys, values], dim=1).float()
    return both.transpose(1, 2).flatten(2)


def unflatten(states: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of `flatten`, in the shape and number format of the keys `like`."""
    layers, heads, tokens, width = like.shape
    both = states.reshape(layers, tokens, 2 * heads, width).transpose(1, 2).to(like.dtype)
    return both[:, :heads].contiguous(), both[:, heads:].contiguous()
