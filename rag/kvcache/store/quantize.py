"""States in fewer bits: a scale for every 32 numbers of a head.

Groups are small enough that one large number, of which keys have many, costs only its neighbours'
precision (KIVI, arXiv 2402.02750, uses groups of 32 too).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rag.kvcache.store.base import Corrupt, Entry
from rag.kvcache.store.codec import SCALE

if TYPE_CHECKING:
    import torch

Storage = Literal["as is", "int8"]
GROUP = 32
"""Numbers along a head's dimension that share a scale; the whole head where that does not divide
it."""
_RESERVED = ("storage", "dtype")
"""In `meta` of a quantized entry: its form, and its original number format."""


def quantize(entry: Entry, storage: Storage) -> Entry:
    """The entry with keys and values in fewer bits, and their scales; other tensors stay.

    An entry whose keys are no floats of two bytes or more is returned as it is: nothing is gained.

    Args:
        entry: In floats.
        storage: `as is`: it is returned as it is. `int8`: the error is at most half a step, a
            254th of the largest number of the group.

    Raises:
        ValueError: `meta` or `tensors` has a name that quantized entries use.
    """
    keys, values = entry.tensors["keys"], entry.tensors["values"]
    floats = keys.is_floating_point() and keys.element_size() > 1 and keys.dtype == values.dtype
    if storage == "as is" or not floats:
        return entry
    taken = entry.meta.keys() & set(_RESERVED) or entry.tensors.keys() & set(_scales())
    if taken:
        raise ValueError(f"quantized entries use the name {min(taken)!r} themselves")
    tensors = dict(entry.tensors)
    for name in ("keys", "values"):
        tensors[name], tensors[name + SCALE] = _quantized(tensors[name])
    meta = {**entry.meta, "storage": storage, "dtype": str(keys.dtype).removeprefix("torch.")}
    return Entry(entry.ids, tensors, meta, entry.cost)


def _scales() -> tuple[str, str]:
    return f"keys{SCALE}", f"values{SCALE}"


def _groups(width: int) -> int:
    return width // GROUP if width % GROUP == 0 else 1


def _quantized(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[..., head_dim] in int8, and scales [..., groups]."""
    import torch

    width = states.shape[-1]
    shape = (*states.shape[:-1], _groups(width), width // _groups(width))
    grouped = states.detach().float().reshape(shape)
    scale = grouped.abs().amax(-1, keepdim=True) / 127
    scale = torch.where(scale > 0, scale, 1.0)  # nothing but zeros: any scale does
    limits = torch.finfo(torch.float16)
    # Where it is normal, float16 has a scale to one part in two thousand, far finer than the 127
    # steps. What is not finite stays so, and is found when it is written.
    least, most = (float(one) for one in torch.aminmax(scale)) if scale.numel() else (1.0, 1.0)
    if least >= limits.smallest_normal and most <= limits.max:
        scale = scale.half()
    steps = (grouped / scale.float()).round().clamp(-127, 127).to(torch.int8)
    return steps.flatten(-2), scale.squeeze(-1)


def dequantize(entry: Entry) -> Entry:
    """The entry in its original number format; one that is not quantized is returned as it is.

    Raises:
        Corrupt: It says that it is quantized, and is not.
    """
    import torch

    if entry.meta.get("storage") != "int8" or not entry.tensors.keys() >= set(_scales()):
        return entry
    kind = getattr(torch, entry.meta.get("dtype", ""), None)
    if not isinstance(kind, torch.dtype):
        raise Corrupt(f"its number format is {entry.meta.get('dtype')!r}")
    tensors = {name: one for name, one in entry.tensors.items() if name not in _scales()}
    for name in ("keys", "values"):
        scale, states = entry.tensors[name + SCALE], tensors[name]
        if scale.shape != (*states.shape[:-1], _groups(states.shape[-1])):
            raise Corrupt(f"its scales of {name} have the shape {tuple(scale.shape)}")
        tensors[name] = _floats(states, scale, kind)
    meta = {name: text for name, text in entry.meta.items() if name not in _RESERVED}
    return Entry(entry.ids, tensors, meta, entry.cost)


def _floats(steps: torch.Tensor, scale: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """Inverse of `_quantized`, layer by layer: what is in between stays in the cache."""
    import torch

    out = torch.empty(steps.shape, dtype=kind)
    for layer, one in enumerate(steps):
        grouped = one.float().unflatten(-1, (scale.shape[-1], -1))
        out[layer] = grouped.mul_(scale[layer].float()[..., None]).flatten(-2)
    return out
