"""Masks from positions."""

from __future__ import annotations

import pytest
import torch

from rag.kvcache.masks import Masks


def masks(queries: list[int], keys: list[int], window: int | None, groups: int = 2) -> Masks:
    return Masks(torch.tensor(queries), torch.tensor(keys), (window,), groups)


@pytest.mark.parametrize("window", [None, 5, 200])
@pytest.mark.parametrize("ordered", [True, False])
def test_blocks_are_the_whole_mask_in_pieces(window: int | None, ordered: bool) -> None:
    queries = [*range(3, 200, 2), *range(300, 500)]
    keys = list(range(500))
    if not ordered:
        keys = [*keys[250:], *keys[:250]]
    made = masks(queries, keys, window)
    whole = made.additive(window, torch.float32).reshape(2, len(queries), len(keys))
    seen = torch.full_like(whole, float("-inf"))
    for rows, slots, mask in made.blocks(window, torch.float32):
        seen[:, rows, slots] = mask.reshape(2, -1, mask.shape[-1])
    assert torch.equal(seen, whole)
    for q, row in zip(queries, whole[0], strict=True):
        sees = {k for k, value in zip(keys, row.tolist(), strict=True) if value == 0}
        first = 0 if window is None else max(0, q - window + 1)
        assert sees == set(range(first, q + 1))


def test_when_no_mask_is_needed() -> None:
    assert masks([0, 1, 2], [0, 1, 2], None).causal
    assert not masks([0, 2, 1], [0, 2, 1], None).causal
    assert not masks([1, 2], [0, 1, 2], None).causal
    assert not masks([0], [0], None).causal
    assert masks([7], [3, 0, 7], None).unmasked(None)
    assert not masks([7, 8], [3, 0, 7, 8], None).unmasked(None)
    assert masks([7], [3, 7], 5).unmasked(5)
    assert not masks([7], [2, 7], 5).unmasked(5)
