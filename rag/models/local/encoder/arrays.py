"""An encoder of the BERT family by NumPy, for a question or two: importing torch takes longer."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.kvcache.native.linear import Unsupported
from rag.models.local.encoder.config import Activation, EncoderConfig
from rag.models.local.encoder.packing import Group, Row, pack

if TYPE_CHECKING:
    import numpy as np

    Pair = tuple[np.ndarray, np.ndarray]

ROOM = 512
"""Tokens of a row: its states stay in the processor's cache."""
BLOCK = 16_384
"""Numbers that go through an activation together."""


class ArrayEncoder:
    """Computes the states of tokens in rows, in float32, as `rag.models.local.encoder.bert` does.

    Args:
        config: Sizes and constants.
        files: Safetensors files with the weights. They are mapped: nothing is copied, and of the
            words only those are read that a text has.

    Raises:
        Unsupported: Weights are missing, or in another number format.
        OSError: A file cannot be read.
        ValueError: It is no safetensors file.

    Attributes:
        config: See above.
    """

    def __init__(self, config: EncoderConfig, files: Sequence[Path]) -> None:
        self.config = config
        weights: dict[str, np.ndarray] = {}
        for file in files:
            weights |= _mapped(file)

        def found(name: str) -> np.ndarray:
            weight = weights.get(f"{config.prefix}{name}")
            if weight is None:
                raise Unsupported(name)
            return weight

        def pair(name: str) -> Pair:
            return found(f"{name}.weight"), found(f"{name}.bias")

        self._words, self._positions, self._types = (
            found(f"embeddings.{one}_embeddings.weight")
            for one in ("word", "position", "token_type")
        )
        self._first = pair("embeddings.LayerNorm")
        self._layers = [
            {part: pair(f"encoder.layer.{n}.{part}") for part in _PARTS}
            for n in range(config.layers)
        ]
        self._act = _activation(config.activation)

    def __call__(self, texts: Sequence[Sequence[int]]) -> Iterator[tuple[Row, np.ndarray]]:
        """The states of all tokens of some texts, row by row, like lengths together.

        Args:
            texts: Token ids of each, at least one.

        Yields:
            A row, and its states [tokens, hidden_size].
        """
        import numpy as np

        for row in pack([len(ids) for ids in texts], ROOM):
            given = np.array([one for at in row.texts for one in texts[at]])
            yield row, self._states(row.groups, given)

    @staticmethod
    def array(states: np.ndarray) -> np.ndarray:
        """States as float32 of NumPy: [tokens, hidden_size]."""
        return states

    def pooled(self, states: np.ndarray, group: Group) -> np.ndarray:
        """The vectors of the texts of one length in a row: float32 [count, hidden_size], unit."""
        import numpy as np

        each = states[group.start : group.end].reshape(group.count, group.length, -1)
        found = each.mean(1) if self.config.pooling == "mean" else each[:, 0]
        unit: np.ndarray = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return unit

    def _states(self, groups: list[Group], ids: np.ndarray) -> np.ndarray:
        import numpy as np

        places = [np.tile(np.arange(one.length), one.count) for one in groups]
        positions = np.concatenate(places) + self.config.first_position
        x = self._words[ids] + self._positions[positions] + self._types[0]
        x = self._norm(x, self._first)
        for layer in self._layers:
            attended = self._attend(groups, [_linear(x, layer[part]) for part in _PARTS[:3]])
            x = self._norm(_linear(attended, layer[_PARTS[3]]) + x, layer[_PARTS[4]])
            wide = _linear(x, layer[_PARTS[5]])
            self._act(wide)
            x = self._norm(_linear(wide, layer[_PARTS[6]]) + x, layer[_PARTS[7]])
        return x

    def _attend(self, groups: list[Group], parts: list[np.ndarray]) -> np.ndarray:
        """Each text attends to itself: query, key and value to [tokens, hidden_size]."""
        import numpy as np

        heads, hidden = self.config.heads, self.config.hidden_size
        found = np.empty((len(parts[0]), hidden), dtype=np.float32)
        for one in groups:
            shape = (one.count, one.length, heads, hidden // heads)
            query, key, value = (
                part[one.start : one.end].reshape(shape).transpose(0, 2, 1, 3) for part in parts
            )
            near = query @ key.transpose(0, 1, 3, 2)
            near *= np.float32(1 / math.sqrt(hidden // heads))
            near -= near.max(axis=-1, keepdims=True)
            np.exp(near, out=near)
            near /= near.sum(axis=-1, keepdims=True)
            found[one.start : one.end] = (near @ value).transpose(0, 2, 1, 3).reshape(-1, hidden)
        return found

    def _norm(self, x: np.ndarray, by: Pair) -> np.ndarray:
        import numpy as np

        x = x - x.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[1])
        x /= np.sqrt(variance + np.float32(self.config.eps))
        x *= by[0]
        x += by[1]
        return x


_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


def _linear(x: np.ndarray, by: Pair) -> np.ndarray:
    found: np.ndarray = x @ by[0].T
    found += by[1]
    return found


def _mapped(file: Path) -> dict[str, np.ndarray]:
    """The float32 weights of a safetensors file, by name, in the mapped file."""
    import numpy as np

    with file.open("rb") as stream:
        view = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(view[:8], "little")
    found = {}
    for name, told in json.loads(view[8:start]).items():
        if name != "__metadata__" and told["dtype"] == "F32":
            first, end = told["data_offsets"]
            flat = np.frombuffer(view, np.float32, (end - first) // 4, start + first)
            found[name] = flat.reshape(told["shape"])
    return found


def _activation(name: Activation) -> Callable[[np.ndarray], None]:
    """In place, block by block: what is computed between stays in the processor's cache."""
    one = {"relu": _relu, "gelu": _gelu, "gelu_tanh": _gelu_tanh}[name]

    def each(x: np.ndarray) -> None:
        flat = x.reshape(-1)
        for start in range(0, len(flat), BLOCK):
            one(flat[start : start + BLOCK])

    return each


def _relu(x: np.ndarray) -> None:
    import numpy as np

    np.maximum(x, 0, out=x)


def _gelu(x: np.ndarray) -> None:
    """X times the normal distribution's share below it.

    The error function is Abramowitz and Stegun's 7.1.26, which is off by 1.5e-7 at most.
    """
    import numpy as np

    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    beyond = np.float32(1.061405429) * t
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        beyond += np.float32(factor)
        beyond *= t
    beyond *= np.exp(-z * z)  # one minus the error function
    beyond *= np.float32(0.5)
    np.multiply(x, np.where(x < 0, beyond, 1 - beyond), out=x)


def _gelu_tanh(x: np.ndarray) -> None:
    import numpy as np

    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    x *= np.float32(0.5) * (1 + np.tanh(inner))
