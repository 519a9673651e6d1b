"""Embedding and cross-encoding by sentence-transformers."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.errors import ModelError
from rag.models.base import NLI, CrossEncoder, Embedder, SparseEncoder
from rag.models.opening.find import ModelFiles, find_model, huge_pages

if TYPE_CHECKING:
    import numpy as np


TOKEN_CACHE_BYTES = 256 * 2**20
"""Token vectors of documents that come up again and again need not be computed again."""


class _Recent:
    """Token vectors by text, the longest unused dropped first when the budget is full."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> np.ndarray | None:
        import numpy as np

        with self._lock:
            if text not in self._kept:
                return None
            self._kept.move_to_end(text)
            return self._kept[text].astype(np.float32)

    def put(self, text: str, vectors: np.ndarray) -> None:
        import numpy as np

        half = vectors.astype(np.float16)
        with self._lock:
            if text not in self._kept:
                self._kept[text] = half
                self._bytes += half.nbytes
            while self._bytes > self._budget:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.nbytes


class LocalEmbedder(Embedder):
    """A sentence-transformers model.

    Args:
        model: The open `SentenceTransformer`.
        id: What tells it from others.
        batch_size: Texts that go through the model together.
    """

    def __init__(self, model: Any, id: str, batch_size: int = 32) -> None:  # noqa: A002
        self.id = id
        self._model = model
        self._batch = batch_size
        # Tokenizers and modules keep state while they work.
        self._lock = threading.Lock()
        self._recent = _Recent(TOKEN_CACHE_BYTES)
        # A tokenizer of its own, so that splitting goes on while the model embeds.
        self._counter = copy.deepcopy(model.tokenizer)
        self._counting = threading.Lock()
        self.dim = int(model.get_embedding_dimension())
        self.window = int(model.max_seq_length)

    @classmethod
    def open(cls, model: str, base: Path, batch_size: int = 32) -> Self:
        """Load the model; raises ModelError if there is none."""
        files = find_model(model, base)
        opened = load_module("SentenceTransformer", files)
        return cls(opened, f"{files.name}@{_digest(files, opened)}", batch_size)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`."""
        return self._encode("encode_document", list(texts))

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        vector: np.ndarray = self._encode("encode_query", [text])[0]
        return vector

    def _encode(self, method: str, texts: list[str]) -> np.ndarray:
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        with self._lock:
            vectors: np.ndarray = getattr(self._model, method)(
                texts, batch_size=self._batch, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`."""
        if query:
            return self._token_vectors("encode_query", list(texts))
        found = {text: self._recent.get(text) for text in texts}
        new = [text for text, vectors in found.items() if vectors is None]
        for text, fresh in zip(new, self._token_vectors("encode_document", new), strict=True):
            found[text] = fresh
            self._recent.put(text, fresh)
        return [vectors for text in texts if (vectors := found[text]) is not None]

    def _token_vectors(self, method: str, texts: list[str]) -> list[np.ndarray]:
        if not texts:
            return []
        with self._lock:
            rows = getattr(self._model, method)(
                texts, batch_size=self._batch, output_value=None, show_progress_bar=False
            )
            special = set(self._model.tokenizer.all_special_ids)
        return [_tokens(row, special) for row in rows]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.lengths`."""
        if not texts:
            return []
        with self._counting:
            ids = self._counter(
                list(texts), add_special_tokens=False, truncation=False, padding=False,
                return_attention_mask=False, return_token_type_ids=False, verbose=False,
            )["input_ids"]  # fmt: skip
        return [len(row) for row in ids]


def _tokens(row: dict[str, Any], special: set[int]) -> np.ndarray:
    """The unit vectors of a text's own tokens."""
    import numpy as np

    ids = row["input_ids"].cpu().numpy()
    own = row["attention_mask"].cpu().numpy().astype(bool) & ~np.isin(ids, list(special))
    vectors = row["token_embeddings"].cpu().float().numpy()[own]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit


class LocalCrossEncoder(CrossEncoder):
    """A sentence-transformers cross-encoder.

    Args:
        model: The open `CrossEncoder` of sentence-transformers.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = threading.Lock()

    @classmethod
    def open(cls, model: str, base: Path) -> Self:
        """Load the model; raises ModelError if there is none."""
        return cls(load_module("CrossEncoder", find_model(model, base)))

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """See `CrossEncoder.score`."""
        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        with self._lock:
            scores = self._model.predict(pairs, show_progress_bar=False)
        return [float(score) for score in scores]


class LocalNLI(NLI):
    """A cross-encoder of sentence-transformers with a label for entailment.

    Args:
        model: The open `CrossEncoder` of sentence-transformers.
        label: Which of its labels that is.
    """

    def __init__(self, model: Any, label: int) -> None:
        self._model = model
        self._label = label
        self._lock = threading.Lock()

    @classmethod
    def open(cls, model: str, base: Path) -> Self:
        """Load the model; raises ModelError if there is none, or it knows no entailment."""
        files = find_model(model, base)
        opened = load_module("CrossEncoder", files)
        labels = {name.lower(): at for at, name in opened.config.id2label.items()}
        if "entailment" not in labels:
            raise ModelError(
                f"{files.name!r} has the labels {', '.join(labels)}, and not `entailment`",
                where="resources.nli",
                fix="name a model of natural language inference",
            )
        return cls(opened, int(labels["entailment"]))

    def entails(self, premises: Sequence[str], hypothesis: str) -> list[float]:
        """See `NLI.entails`."""
        if not premises:
            return []
        pairs = [(premise, hypothesis) for premise in premises]
        with self._lock:
            rows = self._model.predict(pairs, apply_softmax=True, show_progress_bar=False)
        return [float(row[self._label]) for row in rows]


class LocalSparseEncoder(SparseEncoder):
    """A sentence-transformers sparse encoder.

    Args:
        model: The open `SparseEncoder` of sentence-transformers.
        id: What tells it from others.
    """

    def __init__(self, model: Any, id: str) -> None:  # noqa: A002
        self.id = id
        self._model = model
        self._lock = threading.Lock()
        # What the model calls its dimension is that of its hidden states for some.
        self.dim = int(model.encode_query("dimension", show_progress_bar=False).shape[-1])

    @classmethod
    def open(cls, model: str, base: Path) -> Self:
        """Load the model; raises ModelError if there is none."""
        files = find_model(model, base)
        opened = load_module("SparseEncoder", files)
        return cls(opened, f"{files.name}@{_digest(files, opened)}")

    def encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `SparseEncoder.encode`."""
        return self._encode("encode_document", list(texts)) if texts else []

    def encode_query(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """See `SparseEncoder.encode_query`."""
        return self._encode("encode_query", [text])[0]

    def _encode(self, method: str, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        import numpy as np

        with self._lock:
            rows = getattr(self._model, method)(
                texts, show_progress_bar=False, convert_to_tensor=False, save_to_cpu=True
            )
        found = []
        for row in rows:
            row = row.coalesce()  # noqa: PLW2901
            words = row.indices()[0].numpy().astype(np.int32)
            found.append((words, row.values().float().numpy().astype(np.float32)))
        return found


def load_module(kind: str, files: ModelFiles) -> Any:
    """Open a model of sentence-transformers, its errors told as ours."""
    huge_pages()
    import sentence_transformers

    if files.gguf is not None:
        fix = "name a sentence-transformers model, such as all-minilm-l6-v2"
        raise ModelError("a GGUF file holds no embedder", where=str(files.gguf), fix=fix)
    try:
        return getattr(sentence_transformers, kind)(files.place)
    except Exception as error:  # the libraries below raise of every kind
        raise unreadable(files, error) from error


def unreadable(files: ModelFiles, error: Exception) -> ModelError:
    """The error for a model that was found, or not, but cannot be opened."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if files.local:
        return ModelError(
            f"the model cannot be read: {first}", where=files.place, fix="fetch it again"
        )
    return ModelError(
        f"no model {files.name!r} is on this machine and the hub gave none: {first}",
        fix="name a local folder, a GGUF file or an installed package; or connect to the hub",
    )


def _digest(files: ModelFiles, model: Any) -> str:
    """Eight hexadecimal digits that change with the weights: sizes and a sample of values."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].float().cpu().numpy()
        digest.update(name.encode() + str(tuple(weight.shape)).encode() + sample.tobytes())
    return digest.hexdigest()[:8]
