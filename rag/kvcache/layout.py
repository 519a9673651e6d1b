"""A prompt as token ids in three parts: prefix, chunks, suffix."""

from __future__ import annotations

from collections.abc import Sequence


class Layout:
    """A prompt with every token at its true position: the prefix, the chunks, the suffix.

    Attributes:
        prefix: Token ids.
        chunks: Token ids of each chunk.
        scopes: Of each chunk the collection that it is of; "": of none.
        suffix: Token ids.
        turns: Token ids of each earlier turn: the beginning of the suffix.
        context: The chunks' token ids in one list. A place in the context counts from its first
            token.
        bounds: First place and end of each chunk in the context.
        start: Position of the context's first token.
        length: Tokens of the prompt.
        context_ids: The context as a tensor: [context].
        suffix_ids: [suffix].
        suffix_positions: [suffix].

    Args:
        prefix: Token ids before the chunks: the system text and the template's head.
        chunks: Token ids of each chunk, in prompt order.
        suffix: Token ids behind the chunks and turns: the question and the template's tail.
        turns: Token ids of each earlier turn.
        scopes: Of each chunk the collection that it is of; empty: of none.

    Raises:
        ValueError: There are scopes, and not one for each chunk.
    """

    def __init__(
        self,
        prefix: Sequence[int],
        chunks: Sequence[Sequence[int]],
        suffix: Sequence[int],
        turns: Sequence[Sequence[int]] = (),
        scopes: Sequence[str] = (),
    ) -> None:
        import torch

        if scopes and len(scopes) != len(chunks):
            raise ValueError(f"{len(scopes)} scopes for {len(chunks)} chunks")

        self.prefix, self.turns = list(prefix), [list(turn) for turn in turns]
        self.suffix = [*(token for turn in turns for token in turn), *suffix]
        # An empty chunk has no states and no place.
        filled = [number for number, chunk in enumerate(chunks) if len(chunk)]
        self.scopes = [scopes[number] if scopes else "" for number in filled]
        chunks = [chunks[number] for number in filled]
        self.chunks = [list(chunk) for chunk in chunks]
        self.context = [token for chunk in chunks for token in chunk]
        self.bounds: list[tuple[int, int]] = []
        end = 0
        for chunk in chunks:
            self.bounds.append((end, end + len(chunk)))
            end += len(chunk)
        self.start = len(self.prefix)
        self.length = self.start + end + len(self.suffix)
        self.context_ids = torch.tensor(self.context, dtype=torch.long)
        self.suffix_ids = torch.tensor(self.suffix, dtype=torch.long)
        self.suffix_positions = torch.arange(self.start + end, self.length)

    @property
    def question(self) -> list[int]:
        """The suffix without the earlier turns."""
        return self.suffix[sum(map(len, self.turns)) :]

    @property
    def slots(self) -> list[tuple[int, int]]:
        """First slot and end of each chunk in a buffer that holds the prompt in order."""
        return [(self.start + first, self.start + end) for first, end in self.bounds]
