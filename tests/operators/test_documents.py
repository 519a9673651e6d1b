"""Scores of documents whose metadata somebody else wrote."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.operators.documents import unique
from rag.operators.scores import number_of, score_of, scored, scores_of


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (np.float32(0.5), 0.5),
        (Decimal("0.5"), 0.5),
        ("0.5", 0.5),
        ("high", None),
        (None, None),
        (True, None),
        ([1], None),
        (float("nan"), None),
        (10**400, None),
    ],
)
def test_what_is_no_number_is_no_score(value: Any, number: float | None) -> None:
    assert number_of(value) == number
    document = Document(page_content="x", metadata={"score": value, "scores": {"dense": value}})
    assert score_of(document) == score_of(document, "dense") == number
    assert scores_of(document) == ({} if number is None else {"dense": number})


@pytest.mark.parametrize("scores", ["3:1", None, [1, 2], 7, {"dense": "high"}])
def test_scores_of_another_kind_are_left_out(scores: Any) -> None:
    document = Document(page_content="x", metadata={"scores": scores})
    assert scored(document, 0.5, "bm25").metadata["scores"] == {"bm25": 0.5}
    (found,) = unique([document, scored(document, 0.5, "bm25")]).values()
    assert found.metadata["scores"] == {"bm25": 0.5}
    assert document.metadata["scores"] == scores
