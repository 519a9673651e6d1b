"""Linear layers: those with the same input as one product, in the weights' own format or less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Source = Callable[[str], torch.Tensor | None]
    """A weight by its name in the model; None: the model has none of that name."""
    Packed = Callable[[str], tuple[torch.Tensor, torch.Tensor] | None]
    """A weight in four bits by its name, in torch's own order [out, in / 2], and for each group of
    inputs scale and zero [in / GROUP, out, 2]; None: it does not come in four bits."""

GROUP = 32
"""Inputs that share a scale and a zero in four bits."""


class Linear:
    """One or more of a model's linear layers as one.

    Attributes:
        names: Of the layers' weights.
        rows: Outputs of each.
        parts: All weights as one matrix [out, in], or each by itself.

    Args:
        source: The model's weights.
        names: Linear layers with the same input.
        fused: Copy the weights into one matrix. If not, they stay where they are, in a mapped file
            say.

    Raises:
        Unsupported: A weight is missing, or no matrix; or only some layers have a bias.
    """

    def __init__(self, source: Source, names: Sequence[str], fused: bool = True) -> None:
        import torch

        weights = [found for name in names if (found := source(f"{name}.weight")) is not None]
        biases = [found for name in names if (found := source(f"{name}.bias")) is not None]
        if len(weights) != len(names) or any(one.ndim != 2 for one in weights):
            raise Unsupported(f"weights of {', '.join(names)}")
        if len(biases) not in (0, len(names)):
            raise Unsupported(f"biases of {', '.join(names)}")
        self.names = [f"{name}.weight" for name in names]
        self.rows = [len(weight) for weight in weights]
        self.parts = [torch.cat(weights)] if fused and len(weights) > 1 else weights
        self.bias = torch.cat(biases) if biases else None
        self._int8: tuple[torch.Tensor, torch.Tensor] | None = None
        self._int4: tuple[torch.Tensor, torch.Tensor] | None = None

    def quantize(self, int4: Packed | None = None) -> None:
        """Keep the weights in less, for `few`: in four bits where they come so, else in eight."""
        import torch

        packed = [found for name in self.names if int4 and (found := int4(name)) is not None]
        dtype = self.parts[0].dtype
        if len(packed) == len(self.names):
            scales = torch.cat([one for _, one in packed], dim=1).to(dtype)
            self._int4 = torch.cat([one for one, _ in packed]), scales
            return
        weight = torch.cat(self.parts).float()
        steps = weight.abs().amax(1).clamp(min=1e-8) / 127
        rounded = (weight / steps[:, None]).round()
        self._int8 = rounded.to(torch.int8).contiguous(), steps.to(dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, in] to [tokens, out]."""
        from torch.nn.functional import linear

        if len(self.parts) == 1:
            return linear(x, self.parts[0], self.bias)
        import torch

        out = torch.cat([linear(x, part) for part in self.parts], dim=-1)
        return out if self.bias is None else out + self.bias

    def few(self, x: torch.Tensor) -> torch.Tensor:
        """The same for few tokens, where reading the weights takes the time."""
        import torch

        if self._int4 is not None:
            out: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
                x.contiguous(), self._int4[0], GROUP, self._int4[1]
            )
        elif self._int8 is not None:
            out = torch.ops.aten._weight_int8pack_mm(x.contiguous(), *self._int8)
        else:
            return self(x)
        return out if self.bias is None else out + self.bias


class Unsupported(Exception):  # noqa: N818 - handled by who asks: the model runs as it is
    """The model is of another family."""
