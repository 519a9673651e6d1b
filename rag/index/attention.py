"""Attention over the vectors of a document's chunks, with weights that were learned."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError, IndexStateError
from rag.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

SETTINGS, WEIGHTS = "aggregate.json", "aggregate.safetensors"


@dataclass(frozen=True, eq=False)
class LearnedAttention:
    """How the chunks of a document count for its score (SEA, Hu et al. 2022, arXiv 2208.11271).

    The score is the mean of the chunks' cosines with the question, weighted by the softmax of
    cosine / `temperature` + the chunk's own weight, which is linear in its vector; and a share of
    the cosine with the mean vector.

    Attributes:
        weights: Of what a chunk's own weight is made: float32 [dim].
        temperature: Of the cosines, above 0.
        mean: The share of the cosine with the mean vector, 0 to 1.
        embedder: Whose vectors they were learned on.
    """

    weights: np.ndarray
    temperature: float
    mean: float
    embedder: str

    def save(self, folder: Path) -> None:
        """Write it to a folder, which is made."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS, save({"weights": self.weights}))
        facts = {"temperature": self.temperature, "mean": self.mean, "embedder": self.embedder}
        write_atomically(folder / SETTINGS, json.dumps(facts, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> LearnedAttention:
        """Read what `save` wrote.

        Raises:
            ConfigError: It is not there, or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            facts = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            weights = load((folder / WEIGHTS).read_bytes())["weights"]
            return cls(
                weights, float(facts["temperature"]), float(facts["mean"]), str(facts["embedder"])
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ConfigError(
                f"no learned attention can be read here: {error}", where=str(folder),
                fix="name a folder that `rag train aggregate` wrote, or mean, max or attention",
            ) from error  # fmt: skip


def refuse_foreign(aggregate: object, embedder: str) -> None:
    """Refuse attention that was learned on other vectors than those of an index.

    Args:
        aggregate: Anything else than `LearnedAttention` passes.
        embedder: Id of the index's embedder.

    Raises:
        IndexStateError: It was learned on another embedder's.
    """
    if isinstance(aggregate, LearnedAttention) and aggregate.embedder != embedder:
        raise IndexStateError(
            f"attention that was learned on vectors of {aggregate.embedder} cannot weigh those of "
            f"{embedder}",
            fix="train it anew with `rag train aggregate`, or use mean, max or attention",
        )
