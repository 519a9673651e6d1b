"""An encoder of the BERT family, by torch, safetensors and tokenizers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.models.local.encoder.bert import Encoder
from rag.models.local.encoder.text_encoder import TextEncoder, Window
from rag.models.local.encoder.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    import torch


class NativeEncoder(TextEncoder):
    """A written-out encoder with its tokenizer.

    Args:
        encoder: Computes the states of tokens.
        tokens: The tokenizer.
    """

    def __init__(self, encoder: Encoder, tokens: Tokens) -> None:
        self.config = encoder.config
        self.dim, self.window = self.config.hidden_size, self.config.window
        self.pooling = self.config.pooling
        self._encoder, self._tokens = encoder, tokens

    @property
    def document_prompt(self) -> str:
        """See `TextEncoder.document_prompt`."""
        return self.config.document_prompt

    def vectors(self, texts: Sequence[str], *, query: bool) -> np.ndarray:
        """See `TextEncoder.vectors`."""
        import numpy as np
        import torch

        found = np.empty((len(texts), self.dim), dtype=np.float32)
        for row, states in self._encoder(self._ids(texts, query)):
            first = 0
            for group in row.groups:
                each = _each(states, group.start, group.count, group.length)
                pooled = each.mean(1, dtype=torch.float32) if self.pooling == "mean" else each[:, 0]
                places = row.texts[first : first + group.count]
                found[places] = torch.nn.functional.normalize(pooled.float()).cpu().numpy()
                first += group.count
        return found

    def tokens(self, texts: Sequence[str], *, query: bool) -> list[np.ndarray]:
        """See `TextEncoder.tokens`."""
        import numpy as np

        ids = self._ids(texts, query)
        found = self._each_state(ids)
        special = np.array(self.config.special)
        return [vectors[~np.isin(one, special)] for one, vectors in zip(ids, found, strict=True)]

    def windows(self, text: str, overlap: int) -> list[Window]:
        """See `TextEncoder.windows`."""
        import numpy as np

        ids, starts = self._tokens.placed(text)
        room, step = self._tokens.room, self._tokens.room - overlap
        firsts = range(0, max(len(ids) - overlap, 1), step)
        parts = [ids[first : first + room] for first in firsts]
        found = self._each_state([self._tokens.framed(part) for part in parts])
        begins = self._tokens.begins
        return [
            Window(np.array(starts[first : first + room], np.int64), vectors[begins:][: len(part)])
            for first, part, vectors in zip(firsts, parts, found, strict=True)
        ]

    def finished(self, means: np.ndarray) -> np.ndarray:
        """See `TextEncoder.finished`."""
        return means

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `TextEncoder.lengths`."""
        return [len(ids) for ids in self._tokens.plain(texts)]

    def _ids(self, texts: Sequence[str], query: bool) -> list[list[int]]:
        prompt = self.config.query_prompt if query else self.config.document_prompt
        return self._tokens.cut([prompt + text for text in texts])

    def _each_state(self, ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """The states of each text, special tokens included: float32 [tokens, dim]."""
        found: dict[int, np.ndarray] = {}
        for row, states in self._encoder(ids):
            whole, start = states.float().cpu().numpy(), 0
            for text in row.texts:
                found[text] = whole[start : start + len(ids[text])]
                start += len(ids[text])
        return [found[at] for at in range(len(ids))]


def _each(states: torch.Tensor, start: int, count: int, length: int) -> torch.Tensor:
    """[tokens, dim] of a row to the texts of one length in it: [count, length, dim]."""
    return states[start : start + count * length].view(count, length, -1)
