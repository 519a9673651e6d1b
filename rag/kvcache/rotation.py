"""Rotary position embedding (RoPE, Su et al. 2021, arXiv 2104.09864) of stored keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_CHANGING = {"dynamic", "longrope"}
"""Types of RoPE whose frequencies depend on the prompt's length."""
_BATCH = 2**18
"""Numbers rotated in one operation: what a processor's cache holds of them in float32."""


class Rotation:
    """How a model's layers rotate keys.

    Where the frequencies depend on the length (`dynamic`, `longrope`), a request is computed with
    those of its `regime` from its first token to its last. transformers chooses anew in each
    forward pass, so that an answer that grows beyond the switch would attend to keys that were
    rotated otherwise.

    Attributes:
        rotated: Whether each layer rotates at all; the probe sets it (`probe.find_rotation`).

    Args:
        rotary: The model's own module, with its frequencies. They are copied: transformers
            overwrites them.
        config: Of the text model.
        types: Each layer's type, which may have frequencies of its own.
    """

    def __init__(self, rotary: Any, config: Any, types: list[str | None]) -> None:
        self._rotary, self._config, self._types = rotary, config, types
        self.rotated = [True] * len(types)
        own = {kind: _own_frequencies(rotary, kind) for kind in set(types)}
        self._frequencies = {kind: one for kind, one in own.items() if one is not None}

    @property
    def limit(self) -> int | None:
        """Tokens of the longest prompt that is rotated as a short one is; None: any length."""
        return min(self._limits.values(), default=None)

    @property
    def _limits(self) -> dict[str, int]:
        """The types of RoPE that change with the length, and the tokens up to which they do not."""
        parameters = getattr(self._config, "rope_parameters", None) or {}
        kinds = [parameters, *(v for v in parameters.values() if isinstance(v, dict))]
        return {
            str(one["rope_type"]): int(
                one.get("original_max_position_embeddings") or self._config.max_position_embeddings
            )
            for one in kinds
            if one.get("rope_type") in _CHANGING
        }

    def regime(self, tokens: int) -> int:
        """Which frequencies a prompt is computed with that grows to at most so many tokens.

        Returns:
            0: those of short prompts. Else the length that the frequencies are made for: with
            `longrope` all long prompts have the same, with `dynamic` each length its own.
        """
        limits = self._limits
        if not limits or tokens <= min(limits.values()):
            return 0
        return limits["longrope"] + 1 if set(limits) == {"longrope"} else tokens

    @contextmanager
    def applied(self, regime: int) -> Iterator[None]:
        """Let the model's own module rotate with the frequencies of a regime in this context."""
        if self.limit is None:
            yield
            return
        rotary, before = self._rotary, {}
        for kind in self._frequencies:
            name = _name(rotary, kind, "inv_freq")
            before[name] = getattr(rotary, name)
            frequencies, _ = self._of(kind, regime)
            setattr(rotary, name, frequencies.to(before[name].device))
        # With another type of RoPE the module does not choose frequencies itself.
        own = rotary.rope_type
        rotary.rope_type = dict.fromkeys(own, "fixed") if isinstance(own, dict) else "fixed"
        try:
            yield
        finally:
            rotary.rope_type = own
            for name, frequencies in before.items():
                setattr(rotary, name, frequencies)

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

        frequencies, scaling = self._of(kind, 0)
        angles = positions.to("cpu", torch.float64)[:, None] * frequencies.to("cpu", torch.float64)
        return (
            (angles.cos() * scaling).float().to(device),
            (angles.sin() * scaling).float().to(device),
        )

    def _of(self, kind: str | None, regime: int) -> tuple[torch.Tensor, float]:
        """Frequencies of a type of layer, and the factor of cosines and sines."""
        short, scaling = self._frequencies[kind]
        if not regime:
            return short, scaling
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        named = _name(self._rotary, kind, "inv_freq") != "inv_freq"
        rope_type = self._rotary.rope_type[kind] if named else self._rotary.rope_type
        if rope_type not in _CHANGING:
            return short, scaling
        more = {"layer_type": kind} if named else {}
        found: tuple[torch.Tensor, float] = ROPE_INIT_FUNCTIONS[rope_type](
            self._config, short.device, seq_len=regime, **more
        )
        return found


def _name(rotary: Any, kind: str | None, what: str) -> str:
    """What an attribute of a type of layer is called: some models have one for all types."""
    own = f"{kind}_{what}"
    return own if kind is not None and hasattr(rotary, own) else what


def _own_frequencies(rotary: Any, kind: str | None) -> tuple[torch.Tensor, float] | None:
    """A copy of the frequencies of short prompts, and the factor of cosines and sines."""
    found = getattr(rotary, _name(rotary, kind, "original_inv_freq"), None)
    if found is None:
        found = getattr(rotary, _name(rotary, kind, "inv_freq"), None)
    if found is None:
        return None
    scaling = getattr(rotary, _name(rotary, kind, "attention_scaling"), 1.0)
    return found.detach().clone(), float(scaling)


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
