"""An index of four documents, and the small model, which is brief."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.index import Index
from rag.models import LLM, Embedder, Generation, Prompt, Sampling
from rag.models.llm import Scored
from rag.models.local.model import LocalLLM
from tests.pipelines import made

Compute = Callable[[list[str]], Any]

TEXTS = [
    "The north lock may be opened by the keeper on duty and by the harbour master.",
    "The south lock opens at six in the morning from April to October.",
    "Pump P-17 lifts 240 litres per second and is serviced every March.",
    "Visitors pay four crowns for the boat lift; children go free.",
]


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    return made(tmp_path_factory.mktemp("index") / "index", embedder, TEXTS)


class Remembering(Embedder):
    """The real embedder, which computes each text once: hundreds of runs read the same four."""

    def __init__(self, real: Embedder) -> None:
        self._real = real
        self.id, self.dim, self.window = real.id, real.dim, real.window
        self._known: dict[tuple[str, str], np.ndarray] = {}

    def _of(self, kind: str, texts: Sequence[str], compute: Compute) -> list[np.ndarray]:
        new = [text for text in dict.fromkeys(texts) if (kind, text) not in self._known]
        if new:
            self._known.update(zip(((kind, text) for text in new), compute(new), strict=True))
        return [self._known[kind, text] for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        found = self._of("text", texts, self._real.embed)
        return np.stack(found) if found else self._real.embed(texts)

    def embed_query(self, text: str) -> np.ndarray:
        return self._of("query", [text], lambda new: [self._real.embed_query(new[0])])[0]

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        compute = partial(self._real.token_vectors, query=query)
        return self._of(f"tokens {query}", texts, compute)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self._real.lengths(texts)


@pytest.fixture(scope="session")
def embedder(embedder: Embedder) -> Embedder:
    return Remembering(embedder)


class Brief(LocalLLM):
    """The small model, which never says more than a few words.

    It computes an answer once: many flows ask the same over the same chunks. What reuses states is
    always computed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._said: dict[str, list[str | Generation]] = {}
        self._scores: dict[str, list[Scored]] = {}

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: Any = None
    ) -> AsyncIterator[str | Generation]:
        short = replace(sampling, max_tokens=min(sampling.max_tokens, 10))
        asked = repr((prompt, short))
        said = [] if reuse is not None else self._said.get(asked, [])
        for piece in said:
            yield piece
        if said:
            return
        async for piece in super().stream(prompt, short, reuse):
            said.append(piece)
            yield piece
        if reuse is None:
            self._said[asked] = said

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        asked = repr((prompt, answers))
        if asked not in self._scores:
            self._scores[asked] = await super().score(prompt, answers)
        return self._scores[asked]

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        async for piece in super().ensemble(prompts, weights, replace(sampling, max_tokens=6)):
            yield piece


@pytest.fixture(scope="session")
def brief(llm: LocalLLM, tmp_path_factory: pytest.TempPathFactory) -> LLM:
    kv = (str(tmp_path_factory.mktemp("kv")), Path())
    return Brief("brief", llm.model, llm.tokenizer, llm.window, kv)
