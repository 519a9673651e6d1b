"""Many chunks in one packed pass, each as if it stood alone."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch

from rag.kvcache.encode import bins, encode_chunks, encode_prefix
from rag.kvcache.model import ModelView
from rag.kvcache.passes import Passes, run
from rag.testing.tiny_models import ARCHITECTURES
from tests.kvcache.helpers import CHUNKS, PREFIX, distance, make_engine

T = TypeVar("T")


def compute(view: ModelView, work: Passes[T]) -> T:
    with torch.inference_mode():
        return run(work, view.steps)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_states_are_those_of_one_by_one(name: str) -> None:
    view = make_engine(name).view
    prefix = compute(view, encode_prefix(view, PREFIX))
    together = {one.index: one for one in compute(view, encode_chunks(view, prefix, CHUNKS))}
    for number, chunk in enumerate(CHUNKS):
        (alone,) = compute(view, encode_chunks(view, prefix, [chunk]))
        assert distance(together[number].keys, alone.keys) < 1e-4
        assert distance(together[number].values, alone.values) < 1e-4


def test_the_prefixs_keys_are_rotated() -> None:
    view = make_engine("llama").view
    keys, _ = compute(view, encode_prefix(view, PREFIX))
    nothing = keys[:, :, :0], keys[:, :, :0]
    (plain,) = compute(view, encode_chunks(view, nothing, [PREFIX]))
    rotated = torch.empty_like(keys)
    view.geometry.rotation.rotate(plain.keys, torch.arange(len(PREFIX)), rotated)
    assert distance(rotated, keys) < 1e-4
    assert distance(plain.keys, keys) > 1e-2


def test_rows_hold_every_chunk_once_and_no_more_than_they_may() -> None:
    lengths = [5, 9, 1, 4, 12, 3]
    rows = bins(lengths, 10)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= 10 for row in rows if len(row) > 1)
    assert len(rows) == 4
