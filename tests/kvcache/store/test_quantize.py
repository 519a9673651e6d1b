"""Eight bits: half a step of error at most, half the bytes, and the number format kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rag.kvcache.store.base import Corrupt
from rag.kvcache.store.codec import pack, unpack
from rag.kvcache.store.quantize import dequantize, quantize
from tests.kvcache.store.helpers import entry_of, key_of, same


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


def test_zeros_stay_zero_and_so_does_nothing() -> None:
    entry = entry_of()
    entry.tensors["keys"].zero_()
    assert not dequantize(quantize(entry, "int8")).tensors["keys"].any()
    assert same(dequantize(quantize(entry_of(tokens=0), "int8")), entry_of(tokens=0))


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


def test_infinity_is_not_hidden() -> None:
    entry = entry_of()
    entry.tensors["keys"][0, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        pack(key_of(1), quantize(entry, "int8"))


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
    unknown = replace(quantize(entry_of(), "int8"), meta={"storage": "int8", "dtype": "load"})
    with pytest.raises(Corrupt, match="number format"):
        dequantize(unknown)
