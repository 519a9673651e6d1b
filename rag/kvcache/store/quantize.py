"""States in eight bits: half the bytes of bfloat16, with a small loss.

Keys differ most between dimensions, values between tokens: keys have a scale per dimension, values
one per token (KIVI, arXiv 2402.02750, section 3). The error is at most half a step: a 254th of the
largest number of the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.kvcache.store.base import Corrupt, Entry
from rag.kvcache.store.codec import SCALE

if TYPE_CHECKING:
    import torch

_RESERVED = ("storage", "dtype")
"""In `meta` of a quantized entry: `int8`, and its original number format."""


def quantize(entry: Entry) -> Entry:
    """The entry with keys and values as int8, and their scales; other tensors are not changed.

    An entry whose keys are no floats of two bytes or more is returned as it is: nothing is gained.

    Raises:
        ValueError: `meta` or `tensors` has a name that quantized entries use.
    """
    keys, values = entry.tensors["keys"], entry.tensors["values"]
    if not keys.is_floating_point() or keys.element_size() < 2 or keys.dtype != values.dtype:
        return entry
    taken = entry.meta.keys() & set(_RESERVED) or entry.tensors.keys() & set(_scales())
    if taken:
        raise ValueError(f"quantized entries use the name {min(taken)!r} themselves")
    tensors = dict(entry.tensors)
    for name, axis in (("keys", 2), ("values", 3)):
        tensors[name], tensors[name + SCALE] = _quantized(tensors[name], axis)
    meta = {**entry.meta, "storage": "int8", "dtype": str(keys.dtype).removeprefix("torch.")}
    return Entry(entry.ids, tensors, meta, entry.cost)


def _scales() -> tuple[str, str]:
    return f"keys{SCALE}", f"values{SCALE}"


def _quantized(states: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    full = states.detach().float()
    if not states.numel():
        shape = [1 if at == axis else size for at, size in enumerate(states.shape)]
        return full.to(torch.int8), torch.ones(shape, dtype=torch.float16, device=states.device)
    scale = full.abs().amax(axis, keepdim=True) / 127
    scale = torch.where(scale > 0, scale, 1.0)  # nothing but zeros: any scale does
    limits = torch.finfo(torch.float16)
    # Where it is normal, float16 has a scale to one part in two thousand, far finer than the 127
    # steps. What is not finite stays so, and is found when it is written.
    if float(scale.min()) >= limits.smallest_normal and float(scale.max()) <= limits.max:
        scale = scale.half()
    return (full / scale.float()).round().clamp(-127, 127).to(torch.int8), scale


def dequantize(entry: Entry, dtype: torch.dtype | None = None) -> Entry:
    """The entry in floats; one that is not quantized is returned as it is.

    Args:
        entry: A result of `quantize`.
        dtype: Of keys and values; None: their original one.

    Raises:
        Corrupt: It says that it is quantized, and is not.
    """
    import torch

    if entry.meta.get("storage") != "int8" or not entry.tensors.keys() >= set(_scales()):
        return entry
    kind = dtype or getattr(torch, entry.meta.get("dtype", ""), None)
    if not isinstance(kind, torch.dtype):
        raise Corrupt(f"its number format is {entry.meta.get('dtype')!r}")
    tensors = {name: one for name, one in entry.tensors.items() if name not in _scales()}
    for name, axis in (("keys", 2), ("values", 3)):
        scale, states = entry.tensors[name + SCALE], tensors[name]
        wanted = [1 if at == axis else size for at, size in enumerate(states.shape)]
        if list(scale.shape) != wanted:
            raise Corrupt(f"its scales of {name} have the shape {tuple(scale.shape)}")
        tensors[name] = (states.float() * scale.float()).to(kind)
    meta = {name: text for name, text in entry.meta.items() if name not in _RESERVED}
    return Entry(entry.ids, tensors, meta, entry.cost)
