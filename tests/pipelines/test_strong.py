"""Nothing in a ready-made flow keeps a strong model from the answer that its index has."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from rag.eval.dataset import Query
from rag.index import Index
from rag.models import Embedder
from rag.pipelines import names
from rag.text.abstention import abstains
from tests.pipelines import QUESTION, flow, made

BENCHMARK: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[2] / "benchmarks" / "flows.py")
)
FILLER = "It was painted in spring. The gates are of oak. A lamp stands beside it."
TEXTS = [
    *(f"Who may open the north lock at hour {n} is written on its board. {FILLER}" for n in "1234"),
    f"The north lock. {FILLER} Its key is with Ada Brandt, and nobody else has one.",
    f"The south lock opens at six. {FILLER}",
]


@pytest.fixture(scope="session")
def buried(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    """The answer is in the last sentence of a document that is not the first one found."""
    return made(tmp_path_factory.mktemp("buried") / "index", embedder, TEXTS)


@pytest.mark.parametrize("name", names())
def test_a_strong_model_reads_the_answer(name: str, buried: Index, embedder: Embedder) -> None:
    query = Query("q", QUESTION, {}, ("Ada Brandt",))
    llm = BENCHMARK["strong"](query, name in BENCHMARK["LOCAL"])
    result = flow(name, buried, embedder, llm, k="auto").invoke(query=QUESTION)
    assert "Ada Brandt" in result["answer"]


@pytest.mark.parametrize("name", names())
def test_a_strong_model_may_say_that_there_is_none(
    name: str, buried: Index, embedder: Embedder
) -> None:
    llm = BENCHMARK["strong"](Query("q", QUESTION, {}, ()), name in BENCHMARK["LOCAL"])
    result = flow(name, buried, embedder, llm, k="auto").invoke(query=QUESTION)
    assert abstains(result["answer"])
    assert result["citations"] == []
