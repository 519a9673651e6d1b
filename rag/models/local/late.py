"""Late chunking: vectors of parts of a text, pooled from the token vectors of all of it.

Guenther et al. 2024, arXiv 2409.04701. A text longer than the model's window is read in windows
that overlap (section 3.1); a token's vector is of the first window that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

OVERLAP = 4
"""The part of a window that the one before it has read: one in so many tokens."""
_TOKENIZED = ("input_ids", "attention_mask", "token_type_ids")


class LateChunking:
    """A sentence-transformers model that pools parts of texts.

    Args:
        model: A transformer, a pooling by the mean, and what follows.
        id: Its name, for errors.
        batch: Windows that go through the model together.

    Raises:
        ModelError: It pools in another way, by its first token for example.
    """

    def __init__(self, model: Any, id: str, batch: int) -> None:  # noqa: A002
        modules = list(model)
        mode = getattr(modules[1], "pooling_mode", None) if len(modules) > 1 else None
        if mode != "mean":
            raise ModelError(
                f"the embedder {id!r} does not pool tokens by their mean, as late chunking does",
                where="late_chunking",
                fix="use an embedder that does, or leave out `late_chunking`",
            )
        self._model, self._batch, self._behind = model, batch, modules[2:]

    def vectors(self, text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """The unit vectors of parts of a text: float32 [spans, dim]; zeros for one without tokens.

        A token that two parts share counts in both, and one that a border cuts in the part that
        it begins in.

        Args:
            text: Of any length.
            spans: First character and end of each part, at least one.
        """
        import numpy as np
        import torch

        prompt = self._model.prompts.get("document") or ""
        starts, tokens = self._tokens(prompt + text)
        sums = np.concatenate([np.zeros((1, tokens.shape[1])), np.cumsum(tokens, 0, np.float64)])
        borders = np.array(spans) + len(prompt)
        first, end = np.searchsorted(starts, borders[:, 0]), np.searchsorted(starts, borders[:, 1])
        counts = np.maximum(end - first, 1)[:, None]
        means = ((sums[end] - sums[first]) / counts).astype(np.float32)
        with torch.inference_mode():
            features = {"sentence_embedding": torch.from_numpy(means).to(self._model.device)}
            for module in self._behind:
                features = module(features)
        found: np.ndarray = features["sentence_embedding"].float().cpu().numpy()
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return np.where(end[:, None] > first[:, None], found, 0).astype(np.float32)

    def _tokens(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """First characters of all tokens, int64 [tokens], and vectors, float32 [tokens, dim]."""
        import numpy as np
        import torch

        model, window = self._model, int(self._model.max_seq_length)
        overlap = window // OVERLAP
        rows = model.tokenizer(
            text, truncation=True, max_length=window, stride=overlap, padding=True,
            return_overflowing_tokens=True, return_offsets_mapping=True,
            return_special_tokens_mask=True, return_tensors="pt",
        )  # fmt: skip
        given = {name: rows[name] for name in _TOKENIZED if name in rows}
        starts, vectors = [], []
        for at in range(0, len(rows["input_ids"]), self._batch):
            part = slice(at, at + self._batch)
            with torch.inference_mode():
                batch = {name: tensor[part].to(model.device) for name, tensor in given.items()}
                embedded = model[0](batch)["token_embeddings"].float().cpu().numpy()
            own = rows["special_tokens_mask"][part].numpy() == 0
            own &= given["attention_mask"][part].numpy() == 1
            for number, row in enumerate(own):
                places = np.flatnonzero(row)[overlap if at + number else 0 :]
                starts.append(rows["offset_mapping"][at + number].numpy()[places, 0])
                vectors.append(embedded[number][places])
        return np.concatenate(starts), np.concatenate(vectors)
