"""The ready-made flows with LangChain's embedder and chat model in the place of the local ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel

from rag.errors import ModelError, StepError
from rag.index import Index
from rag.models import LLM, Embedder
from rag.pipelines import names
from tests.pipelines import QUESTION, flow, made
from tests.pipelines.conftest import TEXTS


@pytest.fixture(scope="module")
def remote() -> Embedder:
    return Embedder.load(DeterministicFakeEmbedding(size=32), base=Path())


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, remote: Embedder) -> Index:
    return made(tmp_path_factory.mktemp("far") / "index", remote, TEXTS)


@pytest.mark.parametrize("name", names())
def test_it_runs_with_models_that_are_elsewhere(name: str, far: Index, remote: Embedder) -> None:
    llm = LLM.load(FakeListChatModel(responses=["The keeper on duty.", "Yes"]), base=Path())
    asked = flow(name, far, remote, llm)
    if name in ("replug", "cached"):  # what needs log-probabilities or states says so
        with pytest.raises(StepError, match=r"log-probabilities|cannot be reused") as caught:
            asked.invoke(query=QUESTION)
        assert caught.value.exit_code == ModelError.exit_code
        return
    result = asked.invoke(query=QUESTION)
    assert isinstance(result["answer"], str)
    assert result["answer"].strip()
