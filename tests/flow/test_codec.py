"""Values in checkpoints come back as they were, whatever models do when they are serialised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, computed_field

from rag.errors import InputError
from rag.flow.memory.codec import decode, document_from, document_json, encode, unstorable


class Base(BaseModel):
    """What a channel declares."""

    a: int


class Derived(Base):
    """What it holds."""

    b: int = 0


class Holder(BaseModel):
    """A nested model, declared by its base."""

    inner: Base


class Hidden(BaseModel):
    """What pydantic leaves out, renames or adds when it serialises."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    secret: str = Field(exclude=True)
    renamed: int = Field(alias="otherName")
    when: datetime
    _noted: int = PrivateAttr(default=0)

    @computed_field
    def twice(self) -> int:
        return self.renamed * 2


class Open(BaseModel):
    """May hold more."""

    model_config = ConfigDict(extra="allow")

    a: int = 1


class Word(StrEnum):
    """A text that is a member."""

    YES = "yes"


class Shade(Enum):
    """A member."""

    DARK = ("d", 1)


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: float


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dataclass that nobody changes."""

    name: str
    tags: frozenset[str] = field(default_factory=frozenset)


class Chunk(Document):
    """A document with a field more."""

    score: float = 0.0


NOW = datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
HIDDEN = Hidden(secret="s", otherName=3, when=NOW)  # noqa: S106
HIDDEN._noted = 7
VALUES: list[tuple[Any, Any]] = [
    (Base, Derived(a=5, b=9)),
    (Holder, Holder(inner=Derived(a=5, b=9))),
    (Hidden, HIDDEN),
    (list[Hidden], [HIDDEN]),
    (Open, Open(a=2, more=[1, Point(1, 2.0)][0])),
    (Document, Chunk(page_content="c", id="1", score=0.5)),
    (list[Document], [Chunk(page_content="c"), Document(page_content="d")]),
    (dict[str, Frozen], {"a": Frozen("a", frozenset({"x"}))}),
    (Point, Point(1, 2.5)),
    (Shade, Shade.DARK),
    (Word, Word.YES),
    (list[str], [Word.YES, "no"]),
    (Any, NOW),
    (Any, [date(2024, 1, 1), time(1, 2, 3), timedelta(days=-1, microseconds=4)]),
    (Any, {"p": Path("a/b"), "d": Decimal("1.10"), "u": UUID(int=5), "c": 1 + 2j}),
    (Any, [HumanMessage("q"), AIMessage("a", tool_calls=[{"name": "t", "args": {}, "id": "1"}])]),
    (dict[str, Any], {"messages": [ToolMessage("r", tool_call_id="1")]}),
]


def there_and_back(kind: Any, value: Any) -> Any:
    documents: list[Any] = []

    def store(document: Document) -> int:
        documents.append(json.loads(json.dumps(document_json(document))))
        return len(documents) - 1

    data = json.loads(json.dumps(encode(value, kind, store)))
    return decode(data, kind, lambda number: document_from(documents[number]))


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=lambda one: str(one)[:30])
def test_a_value_comes_back_equal_and_of_its_class(kind: Any, value: Any) -> None:
    again = there_and_back(kind, value)
    assert again == value
    assert type(again) is type(value)


def test_what_a_model_hides_comes_back() -> None:
    again = there_and_back(Hidden, HIDDEN)
    assert (again.secret, again._noted, again.model_fields_set) == (
        "s",
        7,
        HIDDEN.model_fields_set,
    )
    again = there_and_back(Holder, Holder(inner=Derived(a=5, b=9)))
    assert type(again.inner) is Derived


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(alphabet=st.characters(exclude_categories=())),
    st.binary(max_size=8),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.complex_numbers(allow_nan=False),
    st.just(Path("a") / "b"),
)
keys = st.one_of(st.text(max_size=3), st.integers(), st.just("$"), st.just("v"))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.frozensets(scalars, max_size=3),
        st.sets(scalars, max_size=3),
        st.builds(Document, page_content=st.text(), metadata=st.dictionaries(st.text(), scalars)),
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal classes all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(values)
def test_any_plain_value_comes_back(value: Any) -> None:
    assert same(there_and_back(Any, value), value)


@given(st.builds(Derived, a=st.integers(), b=st.integers()), st.text(), st.datetimes())
def test_any_model_comes_back(inner: Derived, text: str, when: datetime) -> None:
    hidden = Hidden(secret=text, otherName=inner.a, when=when)
    value = [Holder(inner=inner), hidden]
    assert there_and_back(list[Holder | Hidden], value) == value


@pytest.mark.parametrize(
    "metadata",
    [
        {"when": NOW, "path": Path("a/b"), "d": Decimal(1)},
        {"score": np.float32(0.5), "n": np.int64(3)},
        {"tags": {"a", "b"}, "pair": (1, 2), "word": Word.YES},
    ],
)
def test_a_documents_metadata_come_back(metadata: dict[str, Any]) -> None:
    document = Document(page_content="text", id="1", metadata=metadata)
    assert there_and_back(list[Document], [document]) == [document]


def test_arrays_come_back() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    again = there_and_back(Any, {"vector": array})["vector"]
    assert (again.dtype, again.shape, again.tolist()) == (array.dtype, (2, 3), array.tolist())
    again[0, 0] = 1  # it may be written to


def test_what_a_class_was_renamed_to_does_not_fit_what_was_stored() -> None:
    data = encode(Base(a=1), Base, lambda _: 0)
    with pytest.raises(InputError, match="the channel is Open now"):
        decode(data, Open, lambda _: Document(page_content=""))
    with pytest.raises(InputError, match="other fields"):
        decode({**data, "v": [{}, {}, {}, []]}, Base, lambda _: Document(page_content=""))


def test_no_class_is_made_that_the_channel_does_not_mention() -> None:
    data = {"$": "pathlib.PosixPath", "v": ["a"]}
    with pytest.raises(InputError, match="a stored value is a pathlib"):
        decode(data, Base, lambda _: Document(page_content=""))


class Opaque:
    """Nothing that could be written down."""


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Opaque, Opaque),
        (list[Opaque | None], Opaque),
        (dict[str, Base], None),
        (Any, None),
        (list[datetime], None),
    ],
)
def test_types_that_cannot_be_restored_are_known_before_a_run(kind: Any, wrong: Any) -> None:
    assert unstorable(kind) is wrong
