"""Where a reader finds a document."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document

from rag.text.location import location


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"path": "a.md", "heading": "Locks"}, "a.md, Locks"),
        ({"path": "a.pdf", "page": 3}, "a.pdf, page 3"),
        ({"source": "s"}, "s"),
        ({}, "unknown"),
    ],
)
def test_it_names_what_is_known(metadata: dict[str, Any], place: str) -> None:
    assert location(Document("text", metadata=metadata)) == place
