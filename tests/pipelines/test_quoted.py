"""The default pipeline quotes for a small model, and lets a strong one write."""

from __future__ import annotations

from typing import Any

import pytest

from rag.flow import load_flow
from rag.index import Index
from rag.models import LLM, Embedder
from rag.models.profiles import Profile
from rag.pipelines import path
from rag.testing.llm import ScriptedLLM


@pytest.mark.parametrize("size", ["small", "strong"])
def test_the_default_pipeline_quotes_for_a_small_model_only(
    size: Any, embedder: Embedder, index: Index
) -> None:
    llm: LLM = ScriptedLLM(["It takes ages."], profile=Profile(size=size))
    query = "Who may open the north lock?"
    flow = load_flow(path("hybrid")).with_resources(index=index, embedder=embedder, llm=llm)
    answer = flow.invoke(query=query)["answer"]
    assert ("harbour master" in answer) == (size == "small")
    written = load_flow(path("hybrid"), params={"answer": "written"}).with_resources(
        index=index, embedder=embedder, llm=llm
    )
    assert "It takes ages" in written.invoke(query=query)["answer"]
