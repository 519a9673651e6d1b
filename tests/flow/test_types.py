"""Which types fit which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Optional

import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from rag.flow.types import fits, parse, show


class Base(BaseModel):
    """A parent."""


class Child(Base):
    """A child."""


@pytest.mark.parametrize(
    ("given", "wanted", "answer"),
    [
        (str, str, True),
        (str, int, False),
        (int, float, True),
        (float, int, False),
        (bool, int, True),
        (Child, Base, True),
        (Base, Child, False),
        (str, str | None, True),
        (str | None, str, False),
        (str | int, str | int | None, True),
        (Optional[Child], Base | None, True),  # noqa: UP045 - the older spelling must work
        (Any, int, True),
        (int, Any, True),
        (list[Document], Document, False),
        (Document, list[Document], False),
        (list[Child], list[Base], True),
        (list[Base], list[Child], False),
        (list[str], list, True),
        (list, list[str], True),
        (list[str], Sequence[str], True),
        (str, Sequence[str], False),
        (dict[str, int], dict[str, float], True),
        (dict[str, str], dict[str, float], False),
        (tuple[int, int], tuple[float, ...], True),
        (Literal["a"], str, True),
        (Literal["a"], Literal["a", "b"], True),
        (str, Literal["a"], False),
    ],
)
def test_fits(given: Any, wanted: Any, answer: bool) -> None:
    assert fits(given, wanted) is answer


@pytest.mark.parametrize(
    "text", ["str", "list[Document]", "str | none", "dict[str, list[int]]", "any"]
)
def test_a_type_is_read_as_it_is_shown(text: str) -> None:
    assert show(parse(text)) == text


@pytest.mark.parametrize("text", ["os.system", "list[", "__import__('os')", "Doc"])
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a type"):
        parse(text)
