"""RoPE of a model of transformers, whose frequencies may depend on the prompt's length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rag.kvcache.rotation import Rotation

if TYPE_CHECKING:
    import torch

_CHANGING = {"dynamic", "longrope"}
"""Types of RoPE whose frequencies depend on the prompt's length."""


class LibraryRotation(Rotation):
    """How the layers of a model of transformers rotate keys.

    Where the frequencies depend on the length (`dynamic`, `longrope`), a request is computed with
    those of its `regime` from its first token to its last. transformers chooses anew in each
    forward pass, so that an answer that grows beyond the switch would attend to keys that were
    rotated otherwise.

    Which layers rotate at all, `rotated`, is found by the probe (`probe.find_rotation`).

    Args:
        rotary: The model's own module, with its frequencies. They are copied: transformers
            overwrites them.
        config: Of the text model.
        types: Each layer's type, which may have frequencies of its own.
    """

    def __init__(self, rotary: Any, config: Any, types: list[str | None]) -> None:
        own = {kind: _own_frequencies(rotary, kind) for kind in set(types)}
        super().__init__({kind: one for kind, one in own.items() if one is not None}, types)
        self._rotary, self._config = rotary, config

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
