"""States in eight bits: half the bytes of bfloat16, and little lost.

Keys differ most between dimensions, values between tokens: keys get a scale per dimension, values
one per token (KIVI, arXiv 2402.02750, section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.kvcache.store.base import Entry

if TYPE_CHECKING:
    import torch


def quantize(entry: Entry) -> Entry:
    """The entry with keys and values as int8 and their scales as float16."""
    tensors = dict(entry.tensors)
    kind = str(tensors["keys"].dtype).removeprefix("torch.")
    for name, axis in (("keys", 2), ("values", 3)):
        tensors[name], tensors[f"{name}.scale"] = _quantized(tensors[name], axis)
    return Entry(entry.ids, tensors, {**entry.meta, "int8": kind}, entry.cost)


def _quantized(states: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    full = states.float()
    scale = full.abs().amax(axis, keepdim=True).clamp(min=1e-6) / 127
    # float16 keeps a scale to one part in two thousand, far finer than the 127 steps.
    scale = scale.clamp(max=65000.0).half()
    return (full / scale.float()).round().clamp(-127, 127).to(torch.int8), scale


def dequantize(entry: Entry) -> Entry:
    """The entry in its own number format; one that is not quantized stays as it is."""
    import torch

    kind = entry.meta.get("int8")
    if kind is None:
        return entry
    dtype = getattr(torch, kind)
    tensors = {n: t for n, t in entry.tensors.items() if not n.endswith(".scale")}
    for name in ("keys", "values"):
        scale = entry.tensors[f"{name}.scale"].float()
        tensors[name] = (tensors[name].float() * scale).to(dtype)
    meta = {name: text for name, text in entry.meta.items() if name != "int8"}
    return Entry(entry.ids, tensors, meta, entry.cost)
