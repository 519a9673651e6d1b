"""Computing the states of chunks: many in one pass, each as if it stood alone behind the prefix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from rag.kvcache.buffer import KVBuffer

if TYPE_CHECKING:
    import torch

    from rag.kvcache.model import ModelView

ROW = 2048
"""Tokens computed in one pass at most, unless one chunk is longer."""


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


def encode_prefix(
    view: ModelView, ids: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The prefix's states: keys before rotation, keys at their places, values.

    Each [layers, kv_heads, tokens, head_dim].
    """
    import torch

    buffer = KVBuffer(view, len(ids))
    with view.lock, torch.inference_mode(), view.capturing() as captured:
        view.forward(torch.tensor(ids), torch.arange(len(ids)), buffer)
        plain = torch.stack([captured[layer] for layer in range(view.layers)])
    return plain, buffer.keys, buffer.values


def encode_chunks(
    view: ModelView,
    prefix: tuple[torch.Tensor, torch.Tensor],
    chunks: Sequence[Sequence[int]],
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, float]]:
    """The states of chunks behind a prefix, none of which sees another.

    Chunks are packed into rows; attention is block-diagonal and positions start anew behind the
    prefix in each (Prepacking, arXiv 2404.09529). No pad token is computed.

    Args:
        view: The model.
        prefix: Its keys at their places, and its values.
        chunks: Token ids.

    Yields:
        Index, keys before rotation and values [layers, kv_heads, tokens, head_dim], and the
        seconds that the chunk's share of the pass took.
    """
    import torch

    shared = prefix[0].shape[2]
    for row in bins([len(chunk) for chunk in chunks]):
        started = perf_counter()
        ids = [one for index in row for one in chunks[index]]
        segments, places, end = [], [], 0
        for index in row:
            count = len(chunks[index])
            segments.append((end, end + count))
            places.append(torch.arange(shared, shared + count))
            end += count
        buffer = KVBuffer(view, shared + end)
        buffer.place(*prefix, torch.arange(shared))
        with view.lock, torch.inference_mode(), view.capturing() as captured:
            view.forward(
                torch.tensor(ids), torch.cat(places), buffer, segments=segments, shared=shared
            )
            plain = torch.stack([captured[layer] for layer in range(view.layers)])
        seconds = perf_counter() - started
        for index, (first, last) in zip(row, segments, strict=True):
            values = buffer.values[:, :, shared + first : shared + last].clone()
            share = seconds * (last - first) / end
            yield index, plain[:, :, first:last].clone(), values, share
