"""Rotary position embedding (RoPE, Su et al. 2021, arXiv 2104.09864) of stored keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BATCH = 2**18
"""Numbers rotated in one operation: what a processor's cache holds of them in float32."""


class Rotation:
    """How a model's layers rotate keys, with the same frequencies at every length.

    Attributes:
        rotated: Whether each layer rotates at all.

    Args:
        frequencies: For each type of layer the angle between two positions, in radians
            [head_dim / 2], and the factor of cosines and sines.
        types: Each layer's type.
        rotated: See above; None: every layer does.
    """

    def __init__(
        self,
        frequencies: Mapping[str | None, tuple[torch.Tensor, float]],
        types: Sequence[str | None],
        rotated: Sequence[bool] | None = None,
    ) -> None:
        self._frequencies, self._types = dict(frequencies), list(types)
        self.rotated = [True] * len(types) if rotated is None else list(rotated)

    @property
    def limit(self) -> int | None:
        """Tokens of the longest prompt that is rotated as a short one is; None: any length."""
        return None

    def regime(self, tokens: int) -> int:
        """Which frequencies a prompt is computed with that grows to at most so many tokens.

        Returns:
            0: those of short prompts.
        """
        return 0

    def only_frequencies(self) -> tuple[torch.Tensor, float]:
        """Frequencies and factor that all layers share.

        Raises:
            ValueError: Layers have others than other layers.
        """
        (first, scaling), *others = self._frequencies.values()
        if any(not first.equal(one) or scaling != factor for one, factor in others):
            raise ValueError("layers rotate with different frequencies")
        return first, scaling

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
                angles[kind] = self.angles(positions, kind, out.device)
            _rotate(part, *angles[kind], out[layers])

    def of_layer(self, layer: int, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Keys of one layer, rotated: [kv_heads, tokens, head_dim]."""
        import torch

        out = torch.empty_like(keys)
        _rotate(keys, *self.angles(positions, self._types[layer], keys.device), out)
        return out

    def _runs(self, most: int) -> Iterator[slice]:
        """Runs of at most so many layers with the same rotation: few large operations."""
        kinds = list(zip(self._types, self.rotated, strict=True))
        start = 0
        for layer in range(1, len(kinds) + 1):
            if layer == len(kinds) or kinds[layer] != kinds[start] or layer - start == most:
                yield slice(start, layer)
                start = layer

    def angles(
        self, positions: torch.Tensor, kind: str | None, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [tokens, rotary_dim / 2] in float32, of angles in float64."""
        import torch

        frequencies, scaling = self._frequencies[kind]
        angles = positions.to("cpu", torch.float64)[:, None] * frequencies.to("cpu", torch.float64)
        return (
            (angles.cos() * scaling).float().to(device),
            (angles.sin() * scaling).float().to(device),
        )


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
