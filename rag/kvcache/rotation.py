"""Rotary position embedding (RoPE, Su et al. 2021, arXiv 2104.09864) of stored keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_CHANGING = {"dynamic", "longrope"}
"""Types of RoPE whose frequencies depend on the prompt's length."""
_BATCH = 2**18
"""Numbers rotated in one operation: what a processor's cache holds of them in float32."""


class Rotation:
    """How a model's layers rotate keys.

    Attributes:
        rotated: Whether each layer rotates at all; the probe sets it (`probe.find_rotation`).

    Args:
        rotary: The model's own module, with its frequencies.
        config: Of the text model.
        types: Each layer's type, which may have frequencies of its own.
    """

    def __init__(self, rotary: Any, config: Any, types: list[str | None]) -> None:
        self._rotary, self._config, self._types = rotary, config, types
        self.rotated = [True] * len(types)

    @property
    def limit(self) -> int | None:
        """Tokens of the longest prompt that is rotated as a short one is; None: any length."""
        parameters = getattr(self._config, "rope_parameters", None) or {}
        kinds = [parameters, *(v for v in parameters.values() if isinstance(v, dict))]
        limits = [
            int(one.get("original_max_position_embeddings") or self._config.max_position_embeddings)
            for one in kinds
            if one.get("rope_type") in _CHANGING
        ]
        return min(limits) if limits else None

    def rotate(self, keys: torch.Tensor, positions: torch.Tensor, out: torch.Tensor) -> None:
        """Rotate the keys of all layers in float32, and cast them once.

        Args:
            keys: Before rotation: [layers, kv_heads, tokens, head_dim], any number format.
            positions: [tokens].
            out: Receives the rotated keys; as `keys`, in the model's number format.
        """
        angles: dict[str | None, tuple[torch.Tensor, torch.Tensor]] = {}
        most = max(1, _BATCH // max(keys[0].numel(), 1))
        for layers in self._runs(most):
            part = keys[layers].to(out.device)
            kind = self._types[layers.start]
            if not self.rotated[layers.start]:
                out[layers] = part
                continue
            if kind not in angles:
                angles[kind] = self._angles(positions, kind, out.device)
            _rotate(part, *angles[kind], out[layers])

    def of_layer(self, layer: int, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Keys of one layer, rotated: [kv_heads, tokens, head_dim]."""
        import torch

        out = torch.empty_like(keys)
        _rotate(keys, *self._angles(positions, self._types[layer], keys.device), out)
        return out

    def _runs(self, most: int) -> Iterator[slice]:
        """Runs of at most so many layers with the same rotation: few large operations."""
        kinds = list(zip(self._types, self.rotated, strict=True))
        start = 0
        for layer in range(1, len(kinds) + 1):
            if layer == len(kinds) or kinds[layer] != kinds[start] or layer - start == most:
                yield slice(start, layer)
                start = layer

    def _angles(
        self, positions: torch.Tensor, kind: str | None, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [tokens, rotary_dim / 2] in float32, of angles in float64."""
        import torch

        frequencies, scaling = self._frequencies(kind)
        angles = positions.to("cpu", torch.float64)[:, None] * frequencies.to("cpu", torch.float64)
        return (
            (angles.cos() * scaling).float().to(device),
            (angles.sin() * scaling).float().to(device),
        )

    def _frequencies(self, kind: str | None) -> tuple[torch.Tensor, float]:
        rotary = self._rotary
        if kind is not None and hasattr(rotary, f"{kind}_inv_freq"):
            scaling = getattr(rotary, f"{kind}_attention_scaling", 1.0)
            return getattr(rotary, f"{kind}_inv_freq"), float(scaling)
        return rotary.inv_freq, float(getattr(rotary, "attention_scaling", 1.0))


def _rotate(
    keys: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, out: torch.Tensor
) -> None:
    """Rotate in float32, the first `2 * cosines.shape[-1]` dimensions.

    Args:
        keys: [..., tokens, head_dim].
        cosines: [tokens, half].
        sines: [tokens, half].
        out: Receives the rotated keys, cast to its format; of their shape, no view of them.
    """
    half = cosines.shape[-1]
    first, second = keys[..., :half].float(), keys[..., half : 2 * half].float()
    out[..., :half] = (first * cosines).addcmul_(second, sines, value=-1)
    out[..., half : 2 * half] = (second * cosines).addcmul_(first, sines)
    if 2 * half < keys.shape[-1]:
        out[..., 2 * half :] = keys[..., 2 * half :]
