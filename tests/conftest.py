"""What all tests share: the real small models, opened once, and no way to a hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hypothesis import settings

from rag.models import LLM, Embedder

settings.register_profile("rag", deadline=None)  # a busy machine is slow without being wrong
settings.load_profile("rag")


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The default embedder."""
    return Embedder.load(Embedder.default, base=Path())


@pytest.fixture(scope="session")
def llm() -> LLM:
    """The default language model."""
    return LLM.load(LLM.default, base=Path())
