"""Values as plain data: what JSON knows stays, everything else becomes what it knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from rag.plain import plain, summary


class Box(BaseModel):
    size: int


@dataclass(frozen=True, slots=True)
class Pair:
    left: Any
    right: Any


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        ({1: (Path("a"), None)}, {"1": ["a", None]}),
        ({3, 1, 2}, [1, 2, 3]),
        (Pair(Box(size=2), [True]), {"left": {"size": 2}, "right": [True]}),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.float32(0.5), 0.5),
        (
            Document(id="d", page_content="text", metadata={"boxes": {Box(size=1).size}}),
            {"id": "d", "text": "text", "metadata": {"boxes": [1]}},
        ),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    json.dumps(plain(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("text", "text"), (3, "3"), (None, "None"), ([1, 2], "(2 items)"), (Pair(1, 2), "Pair")],
)
def test_summary(value: Any, expected: str) -> None:
    assert summary(value) == expected
