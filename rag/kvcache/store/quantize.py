"""States in fewer bits: numbers in groups of 32 that share a scale.

Eight bits are enough for groups along a head's dimension. In four, keys need groups along the
tokens instead, since some of their dimensions are far larger than others (KIVI, arXiv 2402.02750,
section 3); with groups along the dimension the likelihood of answers fell by one to two percent
on forty questions, and with these not measurably (`benchmarks/kv_store.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rag.kvcache.store.base import Corrupt, Entry
from rag.kvcache.store.codec import PARTS

if TYPE_CHECKING:
    import torch

Storage = Literal["as is", "int8", "int4"]
GROUP = 32
"""Numbers that share a scale; along a dimension that it does not divide, all of a head."""
_RESERVED = ("storage", "dtype")
"""In `meta` of a quantized entry: its form, and its original number format."""
_Parts = dict[str, "torch.Tensor"]
"""A quantized tensor: its numbers under the empty name, and what belongs to its groups."""


def quantize(entry: Entry, storage: Storage) -> Entry:
    """The entry with keys and values in fewer bits; other tensors stay.

    An entry is returned as it is whose keys are no floats of two bytes or more, since nothing is
    gained, and for four bits one whose heads have an odd dimension.

    Args:
        entry: In floats.
        storage: `as is`: it is returned as it is. `int8`: the error is at most half a step, a
            254th of the largest number of the group. `int4`: half a step is a 30th of the group's
            range.

    Raises:
        ValueError: `meta` or `tensors` has a name that quantized entries use.
    """
    keys, values = entry.tensors["keys"], entry.tensors["values"]
    floats = keys.is_floating_point() and keys.element_size() > 1 and keys.dtype == values.dtype
    if storage == "as is" or not floats or (storage == "int4" and keys.shape[-1] % 2):
        return entry
    taken = entry.meta.keys() & set(_RESERVED) or entry.tensors.keys() & _names("int4")
    if taken:
        raise ValueError(f"quantized entries use the name {min(taken)!r} themselves")
    tensors = dict(entry.tensors)
    for name in ("keys", "values"):
        states = tensors[name].detach().float()
        parts = _int8(states) if storage == "int8" else _int4(states, along_tokens=name == "keys")
        tensors |= {name + part: one for part, one in parts.items()}
    meta = {**entry.meta, "storage": storage, "dtype": str(keys.dtype).removeprefix("torch.")}
    return Entry(entry.ids, tensors, meta, entry.cost)


def dequantize(entry: Entry) -> Entry:
    """The entry in its original number format; one that is not quantized is returned as it is.

    Raises:
        Corrupt: It says that it is quantized, and is not.
    """
    import torch

    storage = entry.meta.get("storage", "")
    if storage not in ("int8", "int4") or not entry.tensors.keys() >= _names(storage):
        return entry
    kind = getattr(torch, entry.meta.get("dtype", ""), None)
    if not isinstance(kind, torch.dtype):
        raise Corrupt(f"its number format is {entry.meta.get('dtype')!r}")
    tensors = {name: one for name, one in entry.tensors.items() if name not in _names(storage)}
    for name in ("keys", "values"):
        parts = {part: entry.tensors[name + part] for part in ("", *PARTS[storage])}
        packed = parts[""]
        width = packed.shape[-1] * (1 if storage == "int8" else 2)
        states = torch.empty((*packed.shape[:-1], width), dtype=kind)
        along_tokens = storage == "int4" and name == "keys"
        for part in PARTS[storage]:
            if parts[part].shape != _of_groups(states, along_tokens=along_tokens):
                what = f"its {part[1:]}s of {name} have the shape {tuple(parts[part].shape)}"
                raise Corrupt(what)
        # Layer by layer, so that what is in between stays in the processor's cache.
        for layer in range(len(states)):
            one = {part: tensor[layer] for part, tensor in parts.items()}
            made = _from_int8(one) if storage == "int8" else _from_int4(one, along_tokens)
            states[layer] = made
        tensors[name] = states
    meta = {name: text for name, text in entry.meta.items() if name not in _RESERVED}
    return Entry(entry.ids, tensors, meta, entry.cost)


def _names(storage: str) -> set[str]:
    """Of the tensors that belong to the groups."""
    return {name + part for name in ("keys", "values") for part in PARTS[storage]}


def _groups(width: int) -> int:
    return width // GROUP if width % GROUP == 0 else 1


def _of_groups(states: torch.Tensor, *, along_tokens: bool) -> tuple[int, ...]:
    """The shape of what each group has one of."""
    *before, tokens, width = states.shape
    if along_tokens:
        return (*before, -(-tokens // GROUP), width)
    return (*before, tokens, _groups(width))


def _grouped(states: torch.Tensor) -> torch.Tensor:
    """[..., head_dim] to [..., groups, numbers]."""
    width = states.shape[-1]
    return states.reshape(*states.shape[:-1], _groups(width), width // _groups(width))


def _halved(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """In float16 where it holds them to one part in two thousand, far finer than the steps.

    What is not finite stays so, and is found when it is written.
    """
    import torch

    limits = torch.finfo(torch.float16)
    for one in tensors:
        size = one[one != 0].abs()
        if size.numel() and not (
            float(size.min()) >= limits.smallest_normal and float(size.max()) <= limits.max
        ):
            return list(tensors)
    return [one.half() for one in tensors]


def _int8(states: torch.Tensor) -> _Parts:
    """[..., head_dim] as steps from -127 to 127, and scales [..., groups]."""
    import torch

    grouped = _grouped(states)
    scale = grouped.abs().amax(-1) / 127
    scale = torch.where(scale == 0, 1.0, scale)  # nothing but zeros: any scale does
    (scale,) = _halved(scale)
    steps = (grouped / scale.float()[..., None]).round().clamp(-127, 127).to(torch.int8)
    return {"": steps.flatten(-2), ".scale": scale}


def _from_int8(parts: _Parts) -> torch.Tensor:
    return _grouped(parts[""].float()).mul_(parts[".scale"].float()[..., None]).flatten(-2)


def _int4(states: torch.Tensor, *, along_tokens: bool) -> _Parts:
    """[..., tokens, head_dim] as steps from 0 to 15, two in a byte; scales and lowest numbers."""
    import torch

    if along_tokens:
        parts = torch.split(states, GROUP, -2) if states.shape[-2] else ()
        shape = _of_groups(states, along_tokens=True)
        low = torch.stack([one.amin(-2) for one in parts], -2) if parts else states.new_empty(shape)
        high = torch.stack([one.amax(-2) for one in parts], -2) if parts else low
    else:
        low, high = _grouped(states).amin(-1), _grouped(states).amax(-1)
    scale = (high - low) / 15
    scale, low = _halved(torch.where(scale == 0, 1.0, scale), low)
    wide = _spread({".scale": scale, ".low": low}, states.shape, along_tokens)
    steps = ((states - wide[".low"]) / wide[".scale"]).round().clamp(0, 15).to(torch.uint8)
    return {"": steps[..., 0::2] | steps[..., 1::2] << 4, ".scale": scale, ".low": low}


def _from_int4(parts: _Parts, along_tokens: bool) -> torch.Tensor:
    import torch

    packed = parts[""]
    steps = torch.stack([packed & 15, packed >> 4], -1).flatten(-2)
    wide = _spread(parts, steps.shape, along_tokens)
    return steps.float().mul_(wide[".scale"]).add_(wide[".low"])


def _spread(parts: _Parts, shape: torch.Size, along_tokens: bool) -> _Parts:
    """Scales and lowest numbers for each number."""
    each = shape[-1] // max(1, parts[".scale"].shape[-1])
    wide = {}
    for name in (".scale", ".low"):
        one = parts[name].float()
        if along_tokens:
            wide[name] = one.repeat_interleave(GROUP, -2)[..., : shape[-2], :]
        else:
            wide[name] = one.repeat_interleave(each, -1)
    return wide
