"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), merged into weights as they are read.

A folder in PEFT's format: `adapter_config.json`, which names the model, and the matrices in
`adapter_model.safetensors`. What is opened is a model like any other, so decoding costs nothing
more, and states that were stored for the model without the adapter are not found.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    Read = Callable[[str], torch.Tensor | None]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_UNKNOWN = ("use_dora", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern")
"""Settings of PEFT under which a sum of two products is not all there is."""


def base_of(folder: Path) -> str:
    """The model that an adapter is of: a name, or a path that starts from the adapter's folder.

    Raises:
        ModelError: The configuration cannot be read, or is of another kind than LoRA.
    """
    return str(_config(folder)["base_model_name_or_path"])


class Adapter:
    """The matrices of an adapter, added to weights of its model.

    Attributes:
        files: What it is read from.

    Args:
        folder: See above.

    Raises:
        ModelError: A file cannot be read, or the adapter is of another kind.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = _config(folder)
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        self._scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        self.files = (folder / CONFIG, folder / WEIGHTS)

    @cached_property
    def _pairs(self) -> dict[str, dict[str, torch.Tensor]]:
        """Name of a weight to its matrices A [rank, in] and B [out, rank]."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            matrices = load_file(self.files[1])
        except (OSError, SafetensorError) as error:
            raise self._wrong(f"its matrices cannot be read: {error}") from error
        pairs: dict[str, dict[str, torch.Tensor]] = {}
        for name, matrix in matrices.items():
            match = _NAME.fullmatch(name)
            if match is None:
                raise self._wrong(f"it has {name}, which is no matrix of LoRA")
            pairs.setdefault(f"{match[1]}.weight", {})[match[2]] = matrix
        if not pairs or any(set(pair) != {"A", "B"} for pair in pairs.values()):
            raise self._wrong("a matrix is missing")
        return pairs

    def __contains__(self, name: str) -> bool:
        """Whether it changes the weight of that name."""
        return name in self._pairs

    def digest(self) -> str:
        """Of matrices and settings: 128 bits of XXH3, hexadecimal."""
        from xxhash import xxh3_128

        digest = xxh3_128(str(self._scale).encode())
        digest.update(self.files[1].read_bytes())
        return str(digest.hexdigest())

    def over(self, source: Read) -> Read:
        """A source of weights with the adapter in them.

        Args:
            source: Gives a weight of the model by its name.

        Raises:
            ModelError: When it is read, for a weight of another shape.
        """
        return lambda name: self.merged(name, source(name))

    def merged(self, name: str, weight: torch.Tensor | None) -> torch.Tensor | None:
        """A weight with what the adapter adds to it, summed in float32.

        Raises:
            ModelError: The model has no such weight, or one of another shape.
        """
        pair = self._pairs.get(name)
        if pair is None:
            return weight
        down, up = pair["A"].float(), pair["B"].float()
        if weight is None or weight.shape != (len(up), down.shape[1]):
            raise self._wrong(f"it does not fit the model: {name} has another shape there")
        added = self._scale * (up @ down)
        return (weight.float() + added.to(weight.device)).to(weight.dtype)

    def merge(self, model: Any) -> None:
        """Add it to the weights of a model of transformers.

        Raises:
            ModelError: It does not fit.
        """
        import torch

        own = dict(model.named_parameters())
        with torch.no_grad():
            for name in self._pairs:
                found = own.get(name)
                merged = self.merged(name, found)
                if found is not None and merged is not None:
                    found.copy_(merged)

    def _wrong(self, what: str) -> ModelError:
        return _wrong(self._folder, what)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = config["peft_type"]
        base = config["base_model_name_or_path"]
        _ = int(config["r"]), float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _wrong(folder, f"{CONFIG} cannot be read: {error!r}") from error
    strange = [name for name in _UNKNOWN if config.get(name)]
    if config.get("bias", "none") != "none":
        strange.append("bias")
    if kind != "LORA" or strange or not base:
        what = f"a {kind} adapter with {', '.join(strange) or 'no base model'} cannot be merged"
        raise _wrong(folder, what)
    return config


def _wrong(folder: Path, what: str) -> ModelError:
    fix = "give a LoRA adapter as `rag train` writes it"
    return ModelError(what, where=str(folder), fix=fix)
