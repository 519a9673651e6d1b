"""An index of four documents, and the small model, which is brief."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.index import Index
from rag.models import LLM, Embedder, Generation, Prompt, Sampling
from rag.models.local.model import LocalLLM
from tests.pipelines import made

TEXTS = [
    "The north lock may be opened by the keeper on duty and by the harbour master.",
    "The south lock opens at six in the morning from April to October.",
    "Pump P-17 lifts 240 litres per second and is serviced every March.",
    "Visitors pay four crowns for the boat lift; children go free.",
]


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    return made(tmp_path_factory.mktemp("index") / "index", embedder, TEXTS)


class Brief(LocalLLM):
    """The small model, which never says more than a few words."""

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: Any = None
    ) -> AsyncIterator[str | Generation]:
        short = replace(sampling, max_tokens=min(sampling.max_tokens, 10))
        async for piece in super().stream(prompt, short, reuse):
            yield piece

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        async for piece in super().ensemble(prompts, weights, replace(sampling, max_tokens=6)):
            yield piece


@pytest.fixture(scope="session")
def brief(llm: LocalLLM, tmp_path_factory: pytest.TempPathFactory) -> LLM:
    kv = (str(tmp_path_factory.mktemp("kv")), Path())
    return Brief("brief", llm.model, llm.tokenizer, llm.window, kv)
