"""Scripted, local and LangChain's models pass the suites that other models pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel

from rag.models import LLM, Embedder
from rag.testing.encoders import ScriptedEmbedder
from rag.testing.llm import ScriptedLLM
from rag.testing.suites.embedder import EmbedderSuite
from rag.testing.suites.llm import LLMSuite

ANSWER = "The lock opens at six."


class TestScriptedLLM(LLMSuite):
    @pytest.fixture
    def llm(self) -> LLM:
        return ScriptedLLM(ANSWER, probability=0.5)


class TestScriptedLLMWithoutLogprobs(LLMSuite):
    @pytest.fixture
    def llm(self) -> LLM:
        return ScriptedLLM(ANSWER)


class TestLocalLLM(LLMSuite):
    @pytest.fixture
    def llm(self, llm: LLM) -> LLM:
        return llm


class TestLangChainLLM(LLMSuite):
    exact_tokens = stops = False

    @pytest.fixture
    def llm(self) -> LLM:
        return LLM.load(FakeListChatModel(responses=[ANSWER]), base=Path())


class TestScriptedEmbedder(EmbedderSuite):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return ScriptedEmbedder()


class TestLocalEmbedder(EmbedderSuite):
    @pytest.fixture
    def embedder(self, embedder: Embedder) -> Embedder:
        return embedder


class TestLangChainEmbedder(EmbedderSuite):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return Embedder.load(DeterministicFakeEmbedding(size=8), base=Path())
