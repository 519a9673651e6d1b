"""A model's weights from its safetensors files, and what is kept of a model by its files."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.paths import cache_folder

if TYPE_CHECKING:
    import torch


class Weights:
    """A model's weights by name, from its safetensors files.

    Args:
        folder: With `model.safetensors`, or several files and an index.
        dtype: Of what is returned.
        device: Of what is returned.
        mapped: Return what is mapped, and no copy, where format and device allow it.

    Raises:
        OSError: There is no such file.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, device: str, mapped: bool = False) -> None:
        from safetensors import safe_open

        self.files = weight_files(folder)
        self._dtype, self._device, self._mapped = dtype, device, mapped
        self._open: dict[str, Any] = {}
        for file in self.files:
            opened: Any = safe_open(file, framework="pt")
            self._open |= dict.fromkeys(opened.keys(), opened)

    def __call__(self, name: str) -> torch.Tensor | None:
        """A weight; None: there is none of that name."""
        if name not in self._open:
            return None
        tensor: torch.Tensor = self._open[name].get_tensor(name)
        # Pages of the file are small ones, which take longer to read from.
        return tensor.to(self._device, self._dtype, copy=not self._mapped)

    def prefix(self, name: str) -> str:
        """What stands before a name, in models that are part of a larger one.

        Raises:
            ValueError: No weight, or several, have a name that ends so.
        """
        found = [one for one in self._open if one == name or one.endswith(f".{name}")]
        if len(found) != 1:
            raise ValueError(name)
        return found[0].removesuffix(name)


def weight_files(folder: Path) -> list[Path]:
    """A model's safetensors files: `model.safetensors`, or those that an index names."""
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    return sorted(folder / name for name in names)


def verdict_file(kind: str, files: Iterable[Path], *conditions: object) -> Path:
    """Where it is written down whether a model computes the same written out as by its library.

    Args:
        kind: What was compared.
        files: The model's: another byte in one of them is another model.
        conditions: Under which it was compared.
    """
    from xxhash import xxh3_128

    digest = xxh3_128(" ".join(map(str, conditions)).encode())
    for file in files:
        if not file.is_file() or not file.stat().st_size:
            digest.update(b"\0")
            continue
        with file.open("rb") as stream:
            digest.update(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    return cache_folder() / "models" / f"{kind}-{digest.hexdigest()}.json"


def best_dtype(name: str, device: str) -> torch.dtype:
    """The number format of a name; `auto` is bfloat16 where the device computes in it."""
    import torch

    if name != "auto":
        found: torch.dtype = getattr(torch, name)
        return found
    if device == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16


def best_device() -> str:
    """Where models compute."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
