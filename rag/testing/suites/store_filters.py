"""Random metadata filters, and what they mean: evaluated in plain Python."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
KEYS = ("a", "b", "dotted.key", "clé", "with 'quotes' and \\")
NUMBERS = (-3, -1.5, 0, 0.1, 0.30000000000000004, 1, 2.0, 2**53 + 1, -(2**63), True, False)
TEXTS = ("", "x", "y", "1", "é", "\U0001f6a2", "it's \\ %s {} ?")
SOURCES = ("s0", "s1", "s2")

METADATA: list[dict[str, Any]] = [
    *({key: value} for key in KEYS for value in (*NUMBERS, *TEXTS, None)),
    {},
    {"a": [1, "x"], "b": {"a": 1}},
    {"a": {"$gt": 1}, "b": ["x"]},
    {"a": ["y", "y", None, 0.1], "b": [], "clé": [2**53 + 1, True, ["x"], {"a": "y"}]},
    {"a": ["it's \\ %s {} ?", "\U0001f6a2"], "b": [None], "with 'quotes' and \\": [-3, 2.0]},
    {"a": 1, "b": "x", "dotted.key": 2.5},
    {"a": "x", "b": 1, "dotted": {"key": 1}},
]
"""Metadata of chunks that filters are tried on."""


def holds(where: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether metadata, with `source` among them, pass a filter."""
    for key, condition in where.items():
        if key == "$and":
            fits = all(holds(part, metadata) for part in condition)
        elif key == "$or":
            fits = any(holds(part, metadata) for part in condition)
        else:
            operators = condition if isinstance(condition, dict) else {"$eq": condition}
            value = metadata.get(key)
            fits = all(_compare(name, value, other) for name, other in operators.items())
        if not fits:
            return False
    return True


def _compare(name: str, value: Any, other: Any) -> bool:
    if name in ("$ne", "$nin"):
        return not _compare({"$ne": "$eq", "$nin": "$in"}[name], value, other)
    if isinstance(value, list):
        scalars = [one for one in value if isinstance(one, str | int | float)]
        return any(_compare(name, one, other) for one in scalars)
    if isinstance(value, dict):  # it is not missing, and nothing that a filter can name
        return False
    if name in ORDER:
        comparable = isinstance(value, str) == isinstance(other, str) and value is not None
        return comparable and ORDER[name](value, other)
    return value in other if name == "$in" else bool(value == other)


_keys = st.sampled_from(KEYS)
_scalars = st.sampled_from([*NUMBERS, *TEXTS]) | st.integers(-3, 3) | st.floats(-2, 2)
_values = _scalars | st.none()
# Numbers beyond 2**53 are equal or not in every store; in some they are ordered as floats.
_bounds = st.sampled_from(TEXTS) | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2)
_conditions = (
    _values
    | st.fixed_dictionaries({}, optional=dict.fromkeys(ORDER, _bounds))
    | st.fixed_dictionaries(
        {},
        optional={
            "$eq": _values,
            "$ne": _values,
            "$in": st.lists(_values, max_size=3),
            "$nin": st.lists(_values, max_size=3),
        },
    )
)
_sources = st.sampled_from(SOURCES)
_flat = st.dictionaries(_keys, _conditions, max_size=2) | st.fixed_dictionaries(
    {
        "source": _sources
        | st.fixed_dictionaries({"$nin": st.lists(_sources | st.integers(0, 1))})
        | st.fixed_dictionaries({"$gt": _sources})
    }
)
filters: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _flat,
    lambda part: st.fixed_dictionaries(
        {}, optional={"$and": st.lists(part, max_size=2), "$or": st.lists(part, max_size=2)}
    ),
    max_leaves=4,
)
"""Filters over `METADATA` and `SOURCES`."""
