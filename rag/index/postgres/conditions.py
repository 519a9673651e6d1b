"""Metadata filters as SQL, and what of a chunk's metadata they compare."""

from __future__ import annotations

import json
from typing import Any

from rag.index.filters import Condition, Leaf, Missing, OneOf, Ordered, Sql, as_sql

FEW = 8
"""Values up to which each is looked up in the index of fields."""


def fields_of(metadata: str) -> dict[str, Any]:
    """The keys and values of metadata that filters compare.

    Booleans are numbers, what is null is left out, and a list or mapping, which nothing equals, is
    an empty list.

    Args:
        metadata: JSON.
    """
    found = json.loads(metadata)
    return {clean(key): _compared(value) for key, value in found.items() if value is not None}


def clean(text: str) -> str:
    """The text without the character 0, which PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd")


def on_chunks(condition: Condition) -> Sql:
    """A condition as an SQL expression on the table `chunks`; it is never NULL.

    Returns:
        The expression and its parameters. Values and keys are among the parameters only.
    """
    return as_sql(condition, _on_chunks, "true", "false")


def _on_chunks(condition: Leaf) -> Sql:
    match condition:
        case Missing("source"):
            return "false", []
        case Missing(key):
            return "NOT fields ? %s", [clean(key)]
        case OneOf("source", values):
            return "source = ANY(%s)", [[clean(one) for one in values if isinstance(one, str)]]
        case OneOf(key, values):
            return _among(clean(key), [_compared(value) for value in values])
        case Ordered("source", order, value):
            if not isinstance(value, str):
                return "false", []
            return f"source {order} %s", [clean(value)]
        case Ordered(key, order, str(value)):
            return _ordered(clean(key), "string", f'COLLATE "C" {order} %s', clean(value))
        case Ordered(key, order, value):
            return _ordered(
                clean(key), "number", f"::numeric {order} %s::numeric", repr(_compared(value))
            )


def _among(key: str, values: list[Any]) -> Sql:
    if len(values) <= FEW:
        sql = " OR ".join(["fields @> %s::jsonb"] * len(values))
        return f"({sql})", [json.dumps({key: value}) for value in values]
    listed = [json.dumps(value) for value in values]
    return "coalesce(fields -> %s = ANY(%s::jsonb[]), false)", [key, listed]


def _ordered(key: str, kind: str, comparison: str, bound: str) -> Sql:
    # CASE, so that nothing else than a number is ever cast to one.
    sql = f"CASE WHEN jsonb_typeof(fields -> %s) = '{kind}' THEN (fields ->> %s) {comparison}"
    return f"({sql} ELSE false END)", [key, key, bound]


def _compared(value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case str():
            return clean(value)
        case int() | float():
            return value
    return []
