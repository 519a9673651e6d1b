"""LangChain's standard suites on our classes, with the packaged small models.

What is not supported is declared by the suites' own switches, and listed in docs/langchain.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from rag.connect.langchain import ChatLLM, EmbedderEmbeddings, FlowRetriever, IndexVectorStore
from rag.models import LLM, Embedder

TEXTS = [
    "The north lock may be opened by the keeper on duty.",
    "Pump P-17 lifts 240 litres per second.",
    "Visitors pay four crowns for the boat lift.",
    "The harbour master keeps the log of the north lock.",
]


@cache
def model() -> LLM:
    """The default language model: opened once for all tests of the suites."""
    return LLM.load(LLM.default, base=Path())


class TestIndexVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        store = IndexVectorStore(tmp_path / "index", self.get_embeddings())
        yield store
        store.close()


class TestFlowRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, tmp_path: Path, embedder: Embedder) -> Iterator[None]:
        self.params = {"index": tmp_path / "index", "embedder": embedder}
        store = IndexVectorStore(tmp_path / "index", embedder)
        store.add_documents([Document(text) for text in TEXTS])
        store.close()
        retriever = FlowRetriever.hybrid(**self.params)
        self.flow = retriever.flow
        yield
        retriever.close()

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return FlowRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"flow": self.flow}

    @property
    def retriever_query_example(self) -> str:
        return "Who may open the north lock?"


class TestEmbedderEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbedderEmbeddings


class TestEmbedderEmbeddingsIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbedderEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": Embedder.default}


class Declared:
    """What `ChatLLM` does not support."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLLM

    @property
    def supports_model_override(self) -> bool:
        # A model is gigabytes of weights that take seconds to load: no call opens another one.
        return False

    # bind_tools is not overridden: the prompts of our language models have no tools. So
    # has_tool_calling and has_tool_choice are False by the suite's own default.
    # Images, audio, video, PDF and Anthropic's blocks are unsupported by default as well: the
    # models read text. supports_json_mode stays False: with_structured_output takes a schema.
    # There is no init_from_env_params: the models need no key. The class is not serializable:
    # it may hold an open model. enable_vcr_tests stays False: there is no HTTP to record.


class TestChatLLMUnit(Declared, ChatModelUnitTests):
    pass


class TestChatLLMIntegration(Declared, ChatModelIntegrationTests):
    @pytest.fixture
    def vcr(self) -> None:
        """What its one test of recordings asks for before it skips; pytest-recording is not on."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": model(), "max_tokens": 400}

    @pytest.fixture
    def model(self, request: pytest.FixtureRequest) -> BaseChatModel:
        # An object must come to its end, and the likeliest one repeats itself for hundreds of
        # tokens; of any other answer the beginning is enough.
        whole = "structured" in request.node.name
        given = {**self.standard_chat_model_params, **self.chat_model_params}
        given |= getattr(request, "param", None) or {}
        given |= {"temperature": 0.7, "seed": 2} if whole else {"max_tokens": 24}
        return self.chat_model_class(**given)

    @property
    def supported_usage_metadata_details(self) -> Any:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> Any:
        """The second prompt over the same documents takes their states from the cache."""
        chat = ChatLLM(model=model(), max_tokens=8, reuse={"mode": "parallel"})
        blocks: list[Any] = [
            *({"type": "text-plain", "text": text, "mime_type": "text/plain"} for text in TEXTS),
            {"type": "text", "text": "Who may open the north lock?"},
        ]
        messages = [{"role": "user", "content": blocks}]
        chat.invoke(messages)
        if not stream:
            message = chat.invoke(messages)
        else:
            first, *rest = chat.stream(messages)
            message = first + rest  # type: ignore[assignment]
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] > 20
        return message
