"""Texts as token ids, by `tokenizers` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Tokens:
    """A model's tokenizer; every method may be called from any thread.

    Args:
        folder: With `tokenizer.json`.
        window: Tokens of a text, special ones included.

    Raises:
        OSError: There is no such file.
    """

    def __init__(self, folder: Path, window: int) -> None:
        from tokenizers import Tokenizer

        # `tokenizers` raises Exception itself for a damaged file.
        self._tokenizer: Any = Tokenizer.from_str((folder / "tokenizer.json").read_text())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        framed = self._tokenizer.encode("a")
        own = [at for at, special in enumerate(framed.special_tokens_mask) if not special]
        self._before: list[int] = framed.ids[: own[0]]
        self._behind: list[int] = framed.ids[own[-1] + 1 :]
        self.room = window - len(self._before) - len(self._behind)
        """Tokens of a text without special ones."""

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens that a model adds itself."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [one.ids for one in found]

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as the model reads it: cut to the window, with special tokens."""
        return [self.framed(ids[: self.room]) for ids in self.plain(texts)]

    def framed(self, ids: list[int]) -> list[int]:
        """Between the special tokens that begin and end a text."""
        return [*self._before, *ids, *self._behind]

    @property
    def begins(self) -> int:
        """Special tokens before a text."""
        return len(self._before)

    def placed(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of a whole text, and the first character of each."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return found.ids, [start for start, _ in found.offsets]
