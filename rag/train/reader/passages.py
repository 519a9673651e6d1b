"""The passages that questions are about, and what of them a prompt has beside the right one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rag.eval.metrics import contains
from rag.operators.selection import most_similar_sentences
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.models import Embedder

NEAR = 12
"""Passages next to a question that the others of a prompt are drawn from."""
WHOLE = 0.12
"""Share of prompts with whole passages; the others have the sentences next to the question."""
FEWEST, MOST = 2, 8
"""Sentences of a prompt."""


class Passages:
    """Passages with their vectors, so that what stands beside the right one is hard to tell apart.

    A prompt is made as the pipeline for small models makes it: passages that a search finds,
    reduced to the sentences most similar to the question (`select_context`).

    Args:
        chunks: The passages.
        embedder: Finds what is near.
    """

    def __init__(self, chunks: Sequence[Chunk], embedder: Embedder) -> None:
        self.chunks, self._embedder = list(chunks), embedder
        self._vectors: np.ndarray | None = None

    @property
    def vectors(self) -> np.ndarray:
        """Of all passages: float32 [passages, dim]."""
        if self._vectors is None:
            self._vectors = self._embedder.embed([one.embedding_text for one in self.chunks])
        return self._vectors

    def near(self, question: str, without: Sequence[str] = ()) -> list[int]:
        """The passages nearest to a question, nearest first, that contain none of these texts."""
        scores = self.vectors @ self._embedder.embed_query(question)
        order = sorted(range(len(self.chunks)), key=lambda at: (-scores[at], at))
        found: list[int] = []
        for at in order:
            if not contains(self.chunks[at].embedding_text, without):
                found.append(at)
            if len(found) == NEAR:
                break
        return found

    def sources(
        self,
        question: str,
        gold: Sequence[tuple[int, str]],
        answers: Sequence[str],
        rng: random.Random,
    ) -> tuple[list[str], list[int]]:
        """The texts of a prompt, and the numbers in it, from 1, of the right passages.

        Args:
            question: What is asked.
            gold: Right passages, and of each the sentence that must stay; empty: there is none.
            answers: What no other passage may contain.
            rng: Draws how many others there are, and how much of each.
        """
        right = dict(gold)
        others = [one for one in self.near(question, answers) if one not in right]
        wanted = rng.randint(0 if right else 1, 4)
        chosen = [*right, *rng.sample(others[: max(wanted * 2, 4)], min(wanted, len(others)))]
        rng.shuffle(chosen)
        documents = [replace(self.chunks[at], id=str(at)).document() for at in chosen]
        if rng.random() >= WHOLE:
            count = rng.randint(FEWEST, MOST)
            documents = most_similar_sentences(question, documents, count, self._embedder)
        kept = {int(one.id or 0): Chunk.of(one) for one in documents}
        for at, sentence in right.items():
            own = kept.get(at)
            if own is None or sentence not in " ".join(own.text.split()):
                text = sentence if own is None else f"{own.text} {sentence}"
                kept[at] = replace(self.chunks[at], text=text)
        shown = [at for at in chosen if at in kept]
        texts = [kept[at].embedding_text for at in shown]
        return texts, [shown.index(at) + 1 for at in right]
