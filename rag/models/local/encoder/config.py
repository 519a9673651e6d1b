"""What an encoder of the BERT family must be told beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Activation = Literal["gelu", "gelu_tanh", "relu"]
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and constants, read from the open model (`proof.describe`).

    Attributes:
        prefix: What the names of the weights begin with.
        layers: Layers.
        heads: Attention heads.
        hidden_size: Numbers of a token between layers.
        intermediate_size: Numbers of a token within the feed-forward network.
        eps: Of the norms.
        activation: Of the feed-forward network.
        first_position: Position of the first token.
        window: Tokens of a text, special ones included.
        special: Tokens that are no part of a text.
        pooling: How a text's vector comes of its tokens'.
        query_prompt: Put before queries.
        document_prompt: Put before documents.
        digest: Eight hexadecimal digits of the weights.
        bfloat16: Whether vectors computed in bfloat16 are near those in float32.
        arrays: Whether its weights are float32, and NumPy computes the same with them.
    """

    prefix: str
    layers: int
    heads: int
    hidden_size: int
    intermediate_size: int
    eps: float
    activation: Activation
    first_position: int
    window: int
    special: tuple[int, ...]
    pooling: Pooling
    query_prompt: str
    document_prompt: str
    digest: str
    bfloat16: bool = False
    arrays: bool = False

    def to_json(self) -> str:
        """As JSON, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EncoderConfig:
        """Read `to_json`.

        Raises:
            ValueError: It is no such JSON.
            TypeError: Fields are missing or unknown.
        """
        fields: dict[str, Any] = json.loads(text)
        fields["special"] = tuple(fields["special"])
        return cls(**fields)
