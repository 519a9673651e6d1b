"""Measures: of rankings and of short answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from rag import operator
from rag.eval.corpus import Corpus
from rag.eval.loading import load_dataset
from rag.eval.metrics import contains, exact_match, token_f1
from rag.eval.ranking import rank_all, ranking_rows
from rag.flow import Flow, load_flow
from rag.models import Embedder
from rag.models.local.embedder import LocalEmbedder
from rag.operators import Dense


def test_a_query_that_finds_nothing_counts(data: Path) -> None:
    @operator(writes="documents")
    def nothing(query: str) -> list[Document]:
        return []

    found = load_dataset(data)
    ranked = rank_all(Flow(nothing()), found)
    assert [one.ndcg_at_10 for one in ranked] == [0.0, 0.0]
    (row,) = ranking_rows({"it": ranked})
    assert (row.means["recall_at_100"], row.depth) == (0.0, 0)


@pytest.mark.parametrize(
    ("answer", "em", "f1", "contained"),
    [
        ("The 120 m.", 1.0, 1.0, 1.0),
        ("It is 120 m long", 0.0, pytest.approx(4 / 7), 1.0),
        ("1120 m", 0.0, 0.5, 0.0),
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_answer_measures(answer: str, em: float, f1: float, contained: float) -> None:
    assert exact_match(answer, ["120 m"]) == em
    assert token_f1(answer, ["120 m", "something else"]) == f1
    assert contains(answer, ["120 m"]) == contained


def test_an_index_that_is_kept_is_not_made_again(
    data: Path, tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []

    def embed(texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray] | None]:
        embedded.append(len(texts))
        return LocalEmbedder.embed_both(embedder, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(embedder, "embed_both", embed)
    flow = Flow(Dense(k=3), resources={"embedder": embedder})
    for _ in range(2):
        with Corpus(load_dataset(data), tmp_path / "kept") as corpus:
            assert corpus.bind(flow).invoke(query="lock")["documents"]
    assert sum(embedded) == len(load_dataset(data).documents)


def test_pipelines_share_a_model_that_they_specify_alike(data: Path, tmp_path: Path) -> None:
    text = "resources: {embedder: all-minilm-l6-v2}\nsteps: [{use: dense, k: 2}]\n"
    # A relative path would name another model from another folder.
    flows = [load_flow(text, base=base) for base in (tmp_path, tmp_path, tmp_path / "elsewhere")]
    with Corpus(load_dataset(data)) as corpus:
        bound = [corpus.bind(flow).resources for flow in flows]
        first, second, other = (one.get("embedder", Embedder) for one in bound)
        assert first is second
        assert first is not other
    for flow in flows:
        flow.close()
