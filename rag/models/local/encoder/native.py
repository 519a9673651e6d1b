"""An encoder of the BERT family, by NumPy or torch, safetensors and tokenizers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.models.local.encoder.packing import Row
from rag.models.local.encoder.states import States
from rag.models.local.encoder.text_encoder import TextEncoder, Window
from rag.models.local.encoder.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np


class NativeEncoder(TextEncoder):
    """A written-out encoder with its tokenizer.

    Args:
        encoder: Computes the states of tokens.
        tokens: The tokenizer.
    """

    def __init__(self, encoder: States, tokens: Tokens) -> None:
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
        return self._pooled(self._ids(texts, query), None)

    def tokens(self, texts: Sequence[str], *, query: bool) -> list[np.ndarray]:
        """See `TextEncoder.tokens`."""
        ids = self._ids(texts, query)
        return self._own(ids, self._each_state(ids))

    def both(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
        """See `TextEncoder.both`."""
        ids = self._ids(texts, query=False)
        states: dict[int, np.ndarray] = {}
        vectors = self._pooled(ids, states)
        return vectors, self._own(ids, [states[at] for at in range(len(ids))])

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

    def _own(self, ids: list[list[int]], states: list[np.ndarray]) -> list[np.ndarray]:
        """The states of tokens that are no special ones."""
        import numpy as np

        special = np.array(self.config.special)
        return [found[~np.isin(one, special)] for one, found in zip(ids, states, strict=True)]

    def _pooled(self, ids: list[list[int]], each: dict[int, np.ndarray] | None) -> np.ndarray:
        """The vectors of texts; the states of each go into a mapping, where one is given."""
        import numpy as np

        found = np.empty((len(ids), self.dim), dtype=np.float32)
        for row, states in self._encoder(ids):
            first = 0
            for group in row.groups:
                places = row.texts[first : first + group.count]
                found[places] = self._encoder.pooled(states, group)
                first += group.count
            if each is not None:
                each |= self._shared_out(row, states, ids)
        return found

    def _each_state(self, ids: list[list[int]]) -> list[np.ndarray]:
        """The states of each text, special tokens included: float32 [tokens, dim]."""
        found: dict[int, np.ndarray] = {}
        for row, states in self._encoder(ids):
            found |= self._shared_out(row, states, ids)
        return [found[at] for at in range(len(ids))]

    def _shared_out(self, row: Row, states: Any, ids: list[list[int]]) -> dict[int, np.ndarray]:
        """The states of a row by text: its place, and float32 [tokens, dim]."""
        whole, start = self._encoder.array(states), 0
        found = {}
        for text in row.texts:
            found[text] = whole[start : start + len(ids[text])]
            start += len(ids[text])
        return found
