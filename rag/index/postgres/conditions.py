"""Metadata filters as SQL, and what of a chunk's metadata they compare."""

from __future__ import annotations

import json
from typing import Any

from rag.index.filters import Condition, Leaf, Missing, OneOf, Ordered, Scalar, Sql, as_sql

FEW = 8
"""Values up to which each is looked up in the index of fields."""
_EACH = "SELECT 1 FROM jsonb_array_elements(fields -> %s) AS one"


def fields_of(metadata: str) -> dict[str, Any]:
    """The keys of metadata that are not null, each with the list of values that filters compare.

    Booleans are numbers. A mapping, which nothing equals, has none.

    Args:
        metadata: JSON.
    """
    found = json.loads(metadata)
    return {clean(key): _values(value) for key, value in found.items() if value is not None}


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
        return f"({sql})", [json.dumps({key: [value]}) for value in values]
    listed = [json.dumps(value) for value in values]
    return f"EXISTS ({_EACH} WHERE one = ANY(%s::jsonb[]))", [key, listed]


def _ordered(key: str, kind: str, comparison: str, bound: str) -> Sql:
    # CASE, so that nothing else than a number is ever cast to one.
    fits = f"CASE WHEN jsonb_typeof(one) = '{kind}' THEN (one #>> '{{}}') {comparison}"
    return f"EXISTS ({_EACH} WHERE {fits} ELSE false END)", [key, bound]


def _values(value: Any) -> list[Any]:
    among = value if isinstance(value, list) else [value]
    return [_compared(one) for one in among if isinstance(one, str | int | float)]


def _compared(value: Scalar) -> str | int | float:
    if isinstance(value, bool):
        return int(value)
    return clean(value) if isinstance(value, str) else value
