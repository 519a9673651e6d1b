"""Linear layers: those with the same input as one product, in the weights' own format or less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Source = Callable[[str], torch.Tensor | None]
    """A weight by its name in the model; None: the model has none of that name."""


class Linear:
    """One or more of a model's linear layers as one.

    Attributes:
        names: Of the layers' weights.
        rows: Outputs of each.
        weight: All of them, one below another: [out, in].

    Args:
        source: The model's weights.
        names: Linear layers with the same input.

    Raises:
        Unsupported: A weight is missing, or no matrix; or only some layers have a bias.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        import torch

        weights = [found for name in names if (found := source(f"{name}.weight")) is not None]
        biases = [found for name in names if (found := source(f"{name}.bias")) is not None]
        if len(weights) != len(names) or any(one.ndim != 2 for one in weights):
            raise Unsupported(f"weights of {', '.join(names)}")
        if len(biases) not in (0, len(names)):
            raise Unsupported(f"biases of {', '.join(names)}")
        self.names = [f"{name}.weight" for name in names]
        self.rows = [len(weight) for weight in weights]
        self.weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        self.bias = torch.cat(biases) if biases else None
        self._int8: tuple[torch.Tensor, torch.Tensor] | None = None

    def quantize(self) -> None:
        """Keep a copy of the weights in eight bits, a scale for each row, for `few`."""
        import torch

        scales = self.weight.float().abs().amax(1).clamp(min=1e-8) / 127
        rounded = (self.weight.float() / scales[:, None]).round()
        self._int8 = (rounded.to(torch.int8).contiguous(), scales.to(self.weight.dtype))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, in] to [tokens, out]."""
        import torch

        return torch.nn.functional.linear(x, self.weight, self.bias)

    def few(self, x: torch.Tensor) -> torch.Tensor:
        """The same for few tokens, where reading the weights takes the time."""
        import torch

        if self._int8 is None:
            return self(x)
        out: torch.Tensor = torch.ops.aten._weight_int8pack_mm(x.contiguous(), *self._int8)
        return out if self.bias is None else out + self.bias


class Unsupported(Exception):  # noqa: N818 - handled by who asks: the model runs as it is
    """The model is of another family."""
