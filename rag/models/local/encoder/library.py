"""An encoder by sentence-transformers, for models that are not written out."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.models.local.encoder.text_encoder import TextEncoder, Window

if TYPE_CHECKING:
    import numpy as np

_TOKENIZED = ("input_ids", "attention_mask", "token_type_ids")


class LibraryEncoder(TextEncoder):
    """A `SentenceTransformer`.

    Args:
        model: The open model.
        batch: Texts that go through it together.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self._model, self._batch = model, batch
        # Tokenizers and modules have state while they work.
        self._lock = threading.Lock()
        # A tokenizer of its own, so that splitting goes on while the model embeds.
        self._counter = copy.deepcopy(model.tokenizer)
        self._counting = threading.Lock()
        self.dim = int(model.get_embedding_dimension())
        self.window = int(model.max_seq_length)
        modules = list(model)
        mode = getattr(modules[1], "pooling_mode", None) if len(modules) > 1 else None
        self.pooling = mode if isinstance(mode, str) else "other"
        self._behind = modules[2:]

    @property
    def document_prompt(self) -> str:
        """See `TextEncoder.document_prompt`."""
        return document_prompt(self._model)

    def vectors(self, texts: Sequence[str], *, query: bool) -> np.ndarray:
        """See `TextEncoder.vectors`."""
        import numpy as np

        found = self._encode(texts, query, normalize_embeddings=True)
        return np.asarray(found, dtype=np.float32)

    def tokens(self, texts: Sequence[str], *, query: bool) -> list[np.ndarray]:
        """See `TextEncoder.tokens`."""
        import numpy as np

        special = list(set(self._model.tokenizer.all_special_ids))
        found = []
        for row in self._encode(texts, query, output_value=None):
            own = row["attention_mask"].cpu().numpy().astype(bool)
            own &= ~np.isin(row["input_ids"].cpu().numpy(), special)
            found.append(row["token_embeddings"].cpu().float().numpy()[own])
        return found

    def _encode(self, texts: Sequence[str], query: bool, **how: Any) -> Any:
        encode = self._model.encode_query if query else self._model.encode_document
        with self._lock:
            return encode(list(texts), batch_size=self._batch, show_progress_bar=False, **how)

    def windows(self, text: str, overlap: int) -> list[Window]:
        """See `TextEncoder.windows`."""
        import torch

        model = self._model
        found = []
        with self._lock, torch.inference_mode():
            rows = model.tokenizer(
                text, truncation=True, max_length=self.window, stride=overlap, padding=True,
                return_overflowing_tokens=True, return_offsets_mapping=True,
                return_special_tokens_mask=True, return_tensors="pt",
            )  # fmt: skip
            given = {name: rows[name] for name in _TOKENIZED if name in rows}
            own = (rows["special_tokens_mask"] == 0) & (rows["attention_mask"] == 1)
            for at in range(0, len(own), self._batch):
                part = slice(at, at + self._batch)
                batch = {name: tensor[part].to(model.device) for name, tensor in given.items()}
                states = model[0](batch)["token_embeddings"].float().cpu()
                starts = rows["offset_mapping"][part, :, 0]
                found += [
                    Window(starts[row][places].numpy(), states[row][places].numpy())
                    for row, places in enumerate(own[part])
                ]
        return found

    def finished(self, means: np.ndarray) -> np.ndarray:
        """See `TextEncoder.finished`."""
        import torch

        with torch.inference_mode():
            features = {"sentence_embedding": torch.from_numpy(means).to(self._model.device)}
            for module in self._behind:
                features = module(features)
        found: np.ndarray = features["sentence_embedding"].float().cpu().numpy()
        return found

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `TextEncoder.lengths`."""
        with self._counting:
            ids = self._counter(
                list(texts), add_special_tokens=False, truncation=False, padding=False,
                return_attention_mask=False, return_token_type_ids=False, verbose=False,
            )["input_ids"]  # fmt: skip
        return [len(row) for row in ids]


def document_prompt(model: Any) -> str:
    """What `SentenceTransformer.encode_document` puts before a text."""
    for name in ("document", "passage", "corpus"):
        if name in model.prompts:
            return model.prompts[name] or ""
    return _default_prompt(model)


def query_prompt(model: Any) -> str:
    """What `SentenceTransformer.encode_query` puts before a text."""
    return (model.prompts["query"] or "") if "query" in model.prompts else _default_prompt(model)


def _default_prompt(model: Any) -> str:
    return model.prompts.get(model.default_prompt_name) or ""
