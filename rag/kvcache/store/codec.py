"""An entry as the bytes of a safetensors file, which can hold no code, and back."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from rag.kvcache.store.base import Corrupt, Entry, OtherVersion

if TYPE_CHECKING:
    import torch

VERSION = "2"
"""Of the format, in the header of every entry."""
PARTS = {"int8": (".scale",), "int4": (".scale", ".low")}
"""Form of quantized states to the endings of the names of what belongs to their groups."""


def pack(key: str, entry: Entry) -> bytes:
    """The entry's file. Its header has version, key, cost, texts, and a digest of all.

    The digest is XXH3, as fast as memory: it finds damage, and keeps out nobody who may write to
    the store, which no digest in the file itself could. Numbers are looked at here only, since the
    digest says on reading that they are those that were written.

    Raises:
        ValueError: Reading would refuse it: keys, values and tokens do not fit each other, a
            state is not finite, the cost is no number of seconds, or a tensor is called `ids`.
    """
    import torch
    from safetensors.torch import save

    if "ids" in entry.tensors:
        raise ValueError("the name ids is taken by the tokens")
    if problem := _problem(entry) or _not_finite(entry):
        raise ValueError(problem)
    tensors, storages = {}, set()
    for name, one in entry.tensors.items():
        tensor = one.detach().cpu().contiguous()
        # The library refuses tensors that overlap, as two views of one buffer may.
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in storages else tensor
        storages.add(place)
    tensors["ids"] = torch.tensor(entry.ids, dtype=torch.int64)
    meta = {
        "version": VERSION,
        "key": key,
        "cost": repr(float(entry.cost)),
        "meta": json.dumps(entry.meta),
    }
    meta["xxh3"] = _digest(meta, tensors)
    return bytes(save(tensors, metadata=meta))


def unpack(key: str, data: bytes, *, check: bool = True) -> Entry:
    """The entry that `pack` was given.

    Args:
        key: Under which it was found.
        data: The file.
        check: Compute the digest.

    Raises:
        Corrupt: The file is truncated, changed, another key's, or of another format.
        OtherVersion: Another version of this module wrote it.
    """
    from safetensors.torch import load

    try:
        tensors = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        meta = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except Exception as error:  # the library raises all kinds of errors
        raise Corrupt(str(error)) from error
    return _entry(key, meta, tensors, check=check)


def read(key: str, path: Path, *, check: bool = True) -> Entry:
    """As `unpack`, from a file whose tensors are mapped and not copied.

    Raises:
        Corrupt: As `unpack`.
        OtherVersion: As `unpack`.
        OSError: The file cannot be read.
    """
    from safetensors import safe_open

    with path.open("rb"):  # an OSError here is the disk's, not the content's
        pass
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:  # another process evicted it since
        raise
    except Exception as error:  # the library raises all kinds of errors
        raise Corrupt(str(error)) from error
    return _entry(key, meta, tensors, check=check)


def _entry(
    key: str, meta: dict[str, str], tensors: dict[str, torch.Tensor], *, check: bool
) -> Entry:
    if "key" in meta and meta.get("version") != VERSION:
        raise OtherVersion(f"version {meta.get('version', '1')}")
    try:
        if meta["key"] != key:
            raise Corrupt(f"it is the file of {meta['key'][:12]}")
        if check and meta["xxh3"] != _digest(meta, tensors):
            raise Corrupt("its digest is another")
        ids = tuple(tensors.pop("ids").tolist())
        texts = {str(name): str(text) for name, text in dict(json.loads(meta["meta"])).items()}
        entry = Entry(ids, tensors, texts, float(meta["cost"]))
        problem = _problem(entry)
    except (KeyError, ValueError, TypeError) as error:
        raise Corrupt(f"its header lacks {error}") from error
    if problem:
        raise Corrupt(problem)
    return entry


def _problem(entry: Entry) -> str | None:
    """What makes an entry unusable, if anything."""
    if not {"keys", "values"} <= entry.tensors.keys():
        return "it has no keys or no values"
    keys, values = entry.tensors["keys"], entry.tensors["values"]
    if keys.ndim != 4 or keys.shape != values.shape or keys.shape[2] != len(entry.ids):
        shapes = f"{tuple(keys.shape)} and {tuple(values.shape)}"
        return f"its shapes are {shapes} for {len(entry.ids)} tokens"
    if not (math.isfinite(entry.cost) and entry.cost >= 0):
        return f"its cost is {entry.cost} s"
    return None


def _not_finite(entry: Entry) -> str | None:
    """Which states are not finite, if any."""
    import torch

    for name in (f"{kind}{part}" for kind in ("keys", "values") for part in ("", *PARTS["int4"])):
        one = entry.tensors.get(name)
        if one is not None and one.is_floating_point() and one.numel():
            # The extremes are infinite, or no numbers, where any number is: fifty times as fast as
            # isfinite. Neither takes eight-bit floats.
            low, high = torch.aminmax(one.float() if one.element_size() == 1 else one)
            if not (math.isfinite(low) and math.isfinite(high)):
                return f"its {name} are not finite"
    return None


def _digest(meta: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    import torch
    from xxhash import xxh3_128

    head = [meta["version"], meta["key"], meta["cost"], meta["meta"]]
    digest = xxh3_128(json.dumps(head).encode())
    for name in sorted(tensors):
        one = tensors[name]
        digest.update(json.dumps([name, str(one.dtype), list(one.shape)]).encode())
        if one.numel():
            flat = one.contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
    return digest.hexdigest()
