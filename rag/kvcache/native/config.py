"""What a decoder of the Llama family must be told beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from rag.kvcache.geometry import Geometry
from rag.kvcache.rotation import Rotation

ACTIVATIONS = ("silu", "gelu", "gelu_tanh")
"""Of the gated network: SiLU, and GELU exact or with tanh."""


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder's sizes and constants, read from the open model (`proof.describe`).

    Frequencies and windows are numbers here, whatever rules of a configuration they came from.

    Attributes:
        architecture: The model's class in transformers.
        hidden_size: Numbers of a token between layers.
        intermediate_size: Of the gated network.
        num_hidden_layers: Layers.
        vocab_size: Logits.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        windows: Each layer's sliding window in tokens, or None.
        rotated: Whether each layer rotates queries and keys.
        frequencies: Angles between two positions, in radians: `head_dim` / 2.
        scaling: Factor of cosines and sines.
        eps: Of the norms.
        scale: Factor of the attention scores.
        activation: See `ACTIVATIONS`.
        max_position_embeddings: Tokens that the model was trained on at most.
        ends: Tokens that end an answer.
        fingerprint: Of the model (`fingerprint.fingerprint`).
    """

    architecture: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    vocab_size: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int | None, ...]
    rotated: tuple[bool, ...]
    frequencies: tuple[float, ...]
    scaling: float
    eps: float
    scale: float
    activation: str
    max_position_embeddings: int
    ends: tuple[int, ...]
    fingerprint: str

    def to_json(self) -> str:
        """As JSON, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        """Read `to_json`.

        Raises:
            ValueError: It is no such JSON.
            KeyError: Fields are missing.
            TypeError: Likewise, or they are unknown.
        """
        fields: dict[str, Any] = json.loads(text)
        for name in ("windows", "rotated", "frequencies", "ends"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def geometry(self, dtype: Any, device: Any) -> Geometry:
        """The shape of its states, in a number format, on a device."""
        import torch

        frequencies = torch.tensor(self.frequencies, dtype=torch.float32)
        types = [None] * self.num_hidden_layers
        return Geometry(
            layers=self.num_hidden_layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            windows=self.windows,
            rotation=Rotation({None: (frequencies, self.scaling)}, types, self.rotated),
            dtype=dtype,
            device=torch.device(device),
        )


def ends_of(model: Any) -> tuple[int, ...]:
    """The tokens that end an answer of a model of transformers."""
    found = getattr(model.generation_config, "eos_token_id", None)
    return tuple(found) if isinstance(found, list) else () if found is None else (int(found),)
