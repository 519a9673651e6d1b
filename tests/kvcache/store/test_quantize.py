"""Eight bits: half a step of error at most, half the bytes, and the number format kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rag.kvcache.store import DiskTier
from rag.kvcache.store.base import Corrupt
from rag.kvcache.store.codec import pack, unpack
from rag.kvcache.store.quantize import Storage, dequantize, quantize
from rag.testing.entries import entry_of, key_of, same


@pytest.mark.parametrize("magnitude", [1e-12, 1e-5, 1.0, 1e4, 1e30])
@pytest.mark.parametrize(("dim", "group"), [(16, 16), (64, 32), (80, 80), (96, 32)])
def test_half_a_step_of_error(magnitude: float, dim: int, group: int) -> None:
    entry = entry_of(3, tokens=50, dim=dim)
    for name in ("keys", "values"):
        entry.tensors[name].mul_(magnitude)
        entry.tensors[name][..., 0].mul_(500)  # an outlier costs its own group only
    back = dequantize(quantize(entry, "int8"))
    for name in ("keys", "values"):
        groups = entry.tensors[name].unflatten(-1, (-1, group))
        most = groups.abs().amax(-1, keepdim=True)
        # The scale itself is rounded to float16, to a part in 2,048.
        bound = (most / 254 * 1.01 + most / 2000).expand_as(groups).flatten(-2)
        assert ((back.tensors[name] - entry.tensors[name]).abs() <= bound).all()


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e30])
@pytest.mark.parametrize("tokens", [1, 32, 50])
def test_four_bits(magnitude: float, tokens: int) -> None:
    """Half a step: keys in groups along the tokens, values along the head."""
    entry = entry_of(3, tokens=tokens, dim=64)
    entry.tensors["keys"][..., 5].mul_(500).add_(3)  # large dimensions cost no others
    entry.tensors["values"][:, :, 0].mul_(500).add_(3)  # nor do large tokens
    for name in ("keys", "values"):
        entry.tensors[name].mul_(magnitude)
    small = quantize(entry, "int4")
    assert small.tensors["keys"].dtype == torch.uint8
    back = dequantize(small)
    for name in ("keys", "values"):
        states = entry.tensors[name]
        parts = states.split(32, 2 if name == "keys" else 3)
        axis = 2 if name == "keys" else 3
        for part, got in zip(parts, back.tensors[name].split(32, axis), strict=True):
            low, high = part.amin(axis, keepdim=True), part.amax(axis, keepdim=True)
            # Scale and lowest number are rounded to float16, each to a part in 2,048.
            most = (high - low) / 30 * 1.02 + torch.maximum(low.abs(), high.abs()) / 1000
            assert ((got - part).abs() <= most).all()


def test_four_bits_take_a_third(tmp_path: Path) -> None:
    entry = entry_of(tokens=256, layers=30, heads=3, dim=64, dtype=torch.bfloat16)
    assert len(pack(key_of(1), quantize(entry, "int4"))) <= 0.33 * entry.nbytes
    tier = DiskTier(tmp_path, storage="int4")
    tier.put(key_of(1), entry)
    found = tier.get(key_of(1))
    assert found is not None
    assert (found.meta, found.tensors["keys"].dtype) == (entry.meta, torch.bfloat16)
    tier.close()


def test_four_bits_need_an_even_head() -> None:
    entry = entry_of(dim=7)
    assert quantize(entry, "int4") is entry


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_zeros_stay_zero_and_so_does_nothing(storage: Storage) -> None:
    entry = entry_of()
    entry.tensors["keys"].zero_()
    assert not dequantize(quantize(entry, storage)).tensors["keys"].any()
    assert same(dequantize(quantize(entry_of(tokens=0), storage)), entry_of(tokens=0))


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_number_format_texts_and_other_tensors_stay(dtype: torch.dtype) -> None:
    entry = entry_of(1, dtype=dtype)
    entry.tensors["my.scale"] = torch.randn(3)
    small = quantize(entry, "int8")
    assert small.meta["storage"] == "int8"
    assert small.meta["dtype"] == str(dtype).removeprefix("torch.")
    assert small.tensors["keys"].dtype == torch.int8
    back = dequantize(small)
    assert back.tensors["keys"].dtype == back.tensors["values"].dtype == dtype
    assert (back.ids, back.meta, back.cost) == (entry.ids, entry.meta, entry.cost)
    assert torch.equal(back.tensors["my.scale"], entry.tensors["my.scale"])
    assert back.tensors.keys() == entry.tensors.keys()


def test_size() -> None:
    entry = entry_of(tokens=256, layers=30, heads=3, dim=64, dtype=torch.bfloat16)
    assert len(pack(key_of(1), quantize(entry, "int8"))) <= 0.55 * entry.nbytes


def test_twice_loses_no_more_than_once() -> None:
    once = dequantize(quantize(entry_of(2), "int8"))
    twice = dequantize(quantize(once, "int8"))
    for name in ("keys", "values"):
        step = once.tensors[name].abs().amax() / 127
        assert (twice.tensors[name] - once.tensors[name]).abs().max() < step * 0.2


def test_whole_numbers_and_the_unquantized_stay_as_they_are() -> None:
    whole = entry_of(dtype=torch.int8)
    assert quantize(whole, "int8") is whole
    assert dequantize(whole) is whole
    named = replace(entry_of(), meta={"storage": "int8"})
    assert dequantize(named) is named


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_infinity_is_not_hidden(storage: Storage) -> None:
    entry = entry_of()
    entry.tensors["keys"][0, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        pack(key_of(1), quantize(entry, storage))


@pytest.mark.parametrize(
    "entry",
    [
        replace(entry_of(), meta={"dtype": "x"}),
        replace(entry_of(), tensors={**entry_of().tensors, "keys.scale": torch.ones(1)}),
    ],
)
def test_names_that_are_taken(entry: object) -> None:
    with pytest.raises(ValueError, match="themselves"):
        quantize(entry, "int8")  # type: ignore[arg-type]


def test_scales_that_do_not_fit() -> None:
    small = quantize(entry_of(), "int8")
    small.tensors["keys.scale"] = torch.ones(1, 1, 1, 8)
    with pytest.raises(Corrupt, match="scales of keys"):
        dequantize(unpack(key_of(1), pack(key_of(1), small)))
    small = quantize(entry_of(), "int4")
    small.tensors["values.low"] = torch.ones(1, 1, 1, 8)
    with pytest.raises(Corrupt, match="lows of values"):
        dequantize(unpack(key_of(1), pack(key_of(1), small)))
    unknown = replace(quantize(entry_of(), "int8"), meta={"storage": "int8", "dtype": "load"})
    with pytest.raises(Corrupt, match="number format"):
        dequantize(unknown)
