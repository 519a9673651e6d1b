"""Computing the states of chunks: many in one pass, each as if it stood alone behind the prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from rag.kvcache.passes import Pass, Passes
from rag.kvcache.plan import Packed

if TYPE_CHECKING:
    import torch

    from rag.kvcache.model import ModelView

ROW = 2048
"""Tokens computed in one pass at most, unless one chunk is longer."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A chunk's states.

    Attributes:
        index: The chunk's place in the list that was given.
        keys: Before rotation: [layers, kv_heads, tokens, head_dim].
        values: As `keys`.
        seconds: The chunk's share of the time that its pass took.
    """

    index: int
    keys: torch.Tensor
    values: torch.Tensor
    seconds: float


def bins(lengths: Sequence[int], size: int = ROW) -> list[list[int]]:
    """Indices packed into rows of at most `size` tokens, longest first (first fit decreasing)."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        for number, left in enumerate(room):
            if lengths[index] <= left:
                rows[number].append(index)
                room[number] -= lengths[index]
                break
        else:
            rows.append([index])
            room.append(size - lengths[index])
    return rows


def encode_prefix(view: ModelView, ids: Sequence[int]) -> Passes[tuple[torch.Tensor, torch.Tensor]]:
    """The states of a prompt's beginning.

    Args:
        view: The model.
        ids: Token ids; at least one.

    Returns:
        Rotated keys and values: [layers, kv_heads, tokens, head_dim].
    """
    import torch

    from rag.kvcache.buffer import KVBuffer

    buffer = KVBuffer(view.geometry, len(ids))
    yield Pass(torch.tensor(ids), torch.arange(len(ids)), buffer)
    return buffer.keys, buffer.values


def encode_chunks(
    view: ModelView,
    prefix: tuple[torch.Tensor, torch.Tensor],
    chunks: Sequence[Sequence[int]],
) -> Passes[list[Encoded]]:
    """The states of chunks behind a prefix, none of which sees another.

    Chunks are packed into rows; attention is block-diagonal, and in each chunk positions start
    again behind the prefix (Prepacking, arXiv 2404.09529). No pad token is computed.

    Args:
        view: The model.
        prefix: Its rotated keys and its values.
        chunks: Token ids.

    Returns:
        Each chunk's states, in the order in which they are computed.
    """
    import torch

    from rag.kvcache.buffer import KVBuffer

    shared, encoded = prefix[0].shape[2], []
    for row in bins([len(chunk) for chunk in chunks]):
        started = perf_counter()
        ids = [token for index in row for token in chunks[index]]
        segments, positions, end = [], [], 0
        for index in row:
            count = len(chunks[index])
            segments.append((end, end + count))
            positions.append(torch.arange(shared, shared + count))
            end += count
        buffer = KVBuffer(view.geometry, shared + end)
        buffer.regime = 0  # a row is longer than any prompt that its chunks will be in
        buffer.place(*prefix, torch.arange(shared))
        plan, keys = Packed(segments, shared), view.geometry.empty(end)
        yield Pass(torch.tensor(ids), torch.cat(positions), buffer, plan, unrotated=keys)
        seconds = perf_counter() - started
        for index, (first, last) in zip(row, segments, strict=True):
            values = buffer.values[:, :, shared + first : shared + last].clone()
            share = seconds * (last - first) / end
            encoded.append(Encoded(index, keys[:, :, first:last].clone(), values, share))
    return encoded
