"""Encoders without weights: an embedder, a reranker and a model of inference that compare words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from rag.errors import ModelError
from rag.models.embedder import Embedder
from rag.models.nli import NLI
from rag.models.reranker import CrossEncoder

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: what all of these compare."""
    return _WORD.findall(text.lower())


class ScriptedEmbedder(Embedder):
    """Embeds a text as the sum of a random vector for each of its words, the same everywhere.

    Texts that share words are near each other. It records what it is given.

    Args:
        dim: Numbers in a vector.
        vectors: Text to its vector, for texts that are to be near or far on purpose; or to an
            error, which is raised when the text is embedded.
    """

    id = "scripted"
    window = 256

    def __init__(
        self, dim: int = 64, *, vectors: Mapping[str, Sequence[float] | Exception] | None = None
    ) -> None:
        self.dim = dim
        self._vectors = dict(vectors or {})
        self.batches: list[list[str]] = []
        """The texts of each call of `embed`."""
        self.queries: list[str] = []
        """The queries embedded."""

    @property
    def texts(self) -> list[str]:
        """All texts embedded, queries left out."""
        return [text for batch in self.batches for text in batch]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`."""
        import numpy as np

        self.batches.append(list(texts))
        vectors = [self._vector(text) for text in texts]
        return np.stack(vectors) if vectors else np.zeros((0, self.dim), np.float32)

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        self.queries.append(text)
        return self._vector(text)

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`: one for each word."""
        import numpy as np

        empty = np.zeros((0, self.dim), np.float32)
        found = [[_unit(_word_vector(word, self.dim)) for word in words_of(text)] for text in texts]
        return [np.stack(vectors) if vectors else empty for vectors in found]

    def embed_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """See `Embedder.embed_spans`: each part, and a little of the whole text."""
        import numpy as np

        if not spans:
            return np.zeros((0, self.dim), np.float32)
        whole = self._vector(text)
        return np.stack([_unit(self._vector(text[a:b]) + 0.3 * whole) for a, b in spans])

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.lengths`: words."""
        return [len(words_of(text)) for text in texts]

    def _vector(self, text: str) -> np.ndarray:
        import numpy as np

        given = self._vectors.get(text)
        if isinstance(given, Exception):
            raise given
        if given is not None:
            if len(given) != self.dim:
                what = f"the vector of {text!r} has {len(given)} numbers"
                raise ModelError(what, where="vectors", fix=f"give {self.dim}, or another dim")
            return _unit(np.asarray(given, np.float32))
        words = words_of(text) or [""]
        return _unit(sum((_word_vector(word, self.dim) for word in words), np.zeros(self.dim)))


@cache
def _word_vector(word: str, dim: int) -> np.ndarray:
    import numpy as np

    seed = int.from_bytes(hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(dim)


def _unit(vector: np.ndarray) -> np.ndarray:
    import numpy as np

    unit: np.ndarray = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


class ScriptedReranker(CrossEncoder):
    """Scores a text by the share of the query's words that it has.

    Args:
        scores: Text to its score, whatever the query is.
    """

    def __init__(self, scores: Mapping[str, float] | None = None) -> None:
        self._scores = dict(scores or {})
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        """Query and texts of each call."""

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """See `CrossEncoder.score`."""
        self.calls.append((query, tuple(texts)))
        return [self._scores.get(text, _share(query, text)) for text in texts]


class ScriptedNLI(NLI):
    """Takes a hypothesis to be entailed by the share of its words that a premise has.

    Args:
        entailed: Hypothesis to the probability, whatever the premise is.
    """

    def __init__(self, entailed: Mapping[str, float] | None = None) -> None:
        self._entailed = dict(entailed or {})
        self.calls: list[tuple[tuple[str, ...], str]] = []
        """Premises and hypothesis of each call."""

    def entails(self, premises: Sequence[str], hypothesis: str) -> list[float]:
        """See `NLI.entails`."""
        self.calls.append((tuple(premises), hypothesis))
        given = self._entailed.get(hypothesis)
        return [_share(hypothesis, one) if given is None else given for one in premises]


def _share(of: str, text: str) -> float:
    """The share of the one's words that the other has, 0 to 1."""
    words = set(words_of(of))
    return len(words & set(words_of(text))) / len(words) if words else 0.0
