"""An entry as the bytes of a safetensors file, which can hold no code, and back."""

from __future__ import annotations

import hashlib
import json
import struct
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.kvcache.store.base import Corrupt, Entry

if TYPE_CHECKING:
    import torch

_HEADER = 100_000
"""Bytes that a header may have at most."""


def pack(key: str, entry: Entry) -> bytes:
    """The entry's file. Its header holds the key, the tokens and a digest of the tensors."""
    import torch
    from safetensors.torch import save

    tensors = {name: one.detach().cpu().contiguous() for name, one in entry.tensors.items()}
    tensors["ids"] = torch.tensor(entry.ids, dtype=torch.int32)
    meta = {"key": key, "cost": repr(entry.cost), "meta": json.dumps(entry.meta)}
    meta["sha256"] = _digest(key, meta["meta"], tensors)
    return bytes(save(tensors, metadata=meta))


def unpack(key: str, data: bytes, *, check: bool = True) -> Entry:
    """The entry that `pack` was given.

    Args:
        key: What it was found under.
        data: The file.
        check: Compute the digest again.

    Raises:
        Corrupt: The file is cut, changed, another's, or none of ours.
    """
    from safetensors.torch import load

    try:
        tensors = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        meta = json.loads(data[8 : 8 + length])["__metadata__"]
    except Exception as error:  # the library raises of every kind
        raise Corrupt(str(error)) from error
    return _entry(key, meta, tensors, check=check)


def read(key: str, path: Path, *, check: bool = True) -> Entry:
    """As `unpack`, from a file, whose tensors are mapped and not copied.

    Raises:
        Corrupt: As `unpack`.
        OSError: The file cannot be read.
    """
    from safetensors import safe_open

    path.stat()
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # the library raises of every kind
        raise Corrupt(str(error)) from error
    return _entry(key, meta, tensors, check=check)


def _entry(
    key: str, meta: dict[str, str], tensors: dict[str, torch.Tensor], *, check: bool
) -> Entry:
    try:
        if meta["key"] != key:
            raise Corrupt(f"it is the file of {meta['key'][:12]}")
        if check and meta["sha256"] != _digest(key, meta["meta"], tensors):
            raise Corrupt("its digest is another")
        ids = tuple(tensors.pop("ids").tolist())
        keys, values = tensors["keys"], tensors["values"]
        if keys.ndim != 4 or keys.shape != values.shape or keys.shape[2] != len(ids):
            raise Corrupt(f"its shapes are {tuple(keys.shape)} and {tuple(values.shape)}")
        return Entry(ids, tensors, json.loads(meta["meta"]), float(meta["cost"]))
    except (KeyError, ValueError, TypeError) as error:
        raise Corrupt(f"its header lacks {error}") from error


def _digest(key: str, meta: str, tensors: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256(f"{key}{meta}".encode())
    for name in sorted(tensors):
        one = tensors[name]
        digest.update(f"{name}{one.dtype}{tuple(one.shape)}".encode())
        if prod(one.shape):
            flat = one.contiguous().reshape(-1).view(torch.uint8)
            digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()


def of_interest(entry: Entry) -> dict[str, Any]:
    """The entry's numbers, for lists."""
    return {"tokens": len(entry.ids), "bytes": entry.nbytes, "cost": entry.cost, **entry.meta}
