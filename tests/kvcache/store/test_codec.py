"""Entries as bytes: every number format, nothing lost, nothing added, nothing wrong let in."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from rag.kvcache.store.base import Corrupt, OtherVersion
from rag.kvcache.store.codec import pack, unpack
from rag.testing.entries import entry_of, key_of, same

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
EIGHT = [torch.float8_e4m3fn, torch.float8_e5m2]
WHOLE = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool]
KEY = key_of("a")


@pytest.mark.parametrize("dtype", [*FLOATS, *EIGHT, *WHOLE], ids=str)
def test_round_trip(dtype: torch.dtype) -> None:
    entry = entry_of(1, dtype=dtype)
    entry.tensors["extra of any name"] = torch.arange(5).to(dtype)
    entry.tensors["number"] = torch.tensor(3).to(dtype)
    entry.tensors["nothing"] = torch.zeros(0, 4).to(dtype)
    assert same(unpack(KEY, pack(KEY, entry)), entry)


def test_views_of_one_buffer_and_a_tensor_used_twice() -> None:
    buffer = torch.randn(3, 2, 8, 4).transpose(1, 2)
    one = buffer[None, 0].transpose(1, 2)
    entry = replace(entry_of(tokens=8), tensors={"keys": one, "values": one, "all": buffer})
    back = unpack(KEY, pack(KEY, entry))
    assert all(torch.equal(back.tensors[name], entry.tensors[name]) for name in entry.tensors)


def test_no_tokens() -> None:
    assert same(unpack(KEY, pack(KEY, entry_of(tokens=0))), entry_of(tokens=0))


def test_three_percent_more_than_the_tensors_at_most() -> None:
    entry = entry_of(tokens=256, layers=30, heads=3, dim=64, dtype=torch.bfloat16)
    assert len(pack(KEY, entry)) <= entry.nbytes * 1.03


def test_every_byte_counts() -> None:
    """A bit changed anywhere is found, or changes nothing (spaces that pad the header)."""
    entry = entry_of(1, tokens=2, layers=1, heads=1, dim=2)
    data = pack(KEY, entry)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            found = unpack(KEY, bytes(changed))
        except (Corrupt, OtherVersion):
            continue
        assert same(found, entry), at


def test_cut_anywhere() -> None:
    data = pack(KEY, entry_of(1, tokens=2, layers=1, heads=1, dim=2))
    for end in range(len(data)):
        with pytest.raises(Corrupt):
            unpack(KEY, data[:end])


def test_the_file_of_another_key() -> None:
    with pytest.raises(Corrupt, match="it is the file of"):
        unpack(key_of("b"), pack(KEY, entry_of()))


INFINITE = torch.full((2, 2, 8, 8), torch.inf)


def test_safetensors_of_others() -> None:
    with pytest.raises(Corrupt, match="header"):
        unpack(KEY, save(load(pack(KEY, entry_of()))))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ids": (1, 2)}, "for 2 tokens"),
        ({"tensors": {"keys": torch.zeros(1, 1, 8, 2)}}, "no values"),
        ({"tensors": {"keys": torch.zeros(8), "values": torch.zeros(8)}}, "shapes"),
        ({"cost": float("nan")}, "cost"),
        ({"cost": -1.0}, "cost"),
        ({"tensors": {**entry_of().tensors, "ids": torch.zeros(1)}}, "taken"),
        ({"tensors": {**entry_of().tensors, "keys": INFINITE}}, "finite"),
    ],
)
def test_what_cannot_be_read_is_not_written(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        pack(KEY, replace(entry_of(), **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_one_number_that_is_not_finite(dtype: torch.dtype, number: float) -> None:
    entry = entry_of()
    entry.tensors["values"][1, 0, 3, 5] = number
    tensors = {name: one.to(dtype) for name, one in entry.tensors.items()}
    with pytest.raises(ValueError, match="values are not finite"):
        pack(KEY, replace(entry, tensors=tensors))


@pytest.mark.parametrize("version", [None, "1", "3"])
def test_another_version_is_told_from_damage(version: str | None) -> None:
    data = pack(KEY, entry_of())
    (length,) = struct.unpack("<Q", data[:8])
    meta = json.loads(data[8 : 8 + length])["__metadata__"]
    if version is None:
        del meta["version"]
    else:
        meta["version"] = version
    with pytest.raises(OtherVersion):
        unpack(KEY, save(load(data), metadata=meta))
