"""Filters as SQL: over the metadata of chunks, and over the table of declared keys."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rag.index.filters import Condition, Leaf, Missing, OneOf, Ordered, Scalar, Sql, as_sql

_NUMBERS = "('integer', 'real', 'true', 'false')"
_TEXTS = "('text')"


def on_chunks(condition: Condition) -> Sql:
    """A condition as an SQL expression on the table `chunks`; it is never NULL.

    Returns:
        The expression and its parameters. Values and keys are among the parameters only.
    """
    return as_sql(condition, _on_chunks, "1", "0")


def _on_chunks(condition: Leaf) -> Sql:
    match condition:
        case Missing("source"):
            return "0", []
        case Missing(key):
            return "(json_extract(metadata, ?) IS NULL)", [json_path(key)]
        case OneOf(key, values):
            return _same_kind(key, "IN (SELECT value FROM json_each(?))", values)
        case Ordered(key, order, value):
            return _same_kind(key, f"{order} json_extract(?, '$[0]')", (value,))


def on_values(condition: Leaf) -> Sql:
    """A condition on one declared key as an SQL expression on the table `filter_values`.

    For `Missing` it is the complement: the rows that have the key.
    """
    match condition:
        case Missing():
            return "1", []
        case OneOf(_, values):
            return "value IN (SELECT value FROM json_each(?))", [_listed(values)]
        case Ordered(_, order, value):
            # In SQLite's order numbers come before texts, and texts before blobs.
            text = isinstance(value, str)
            among = "value >= '' AND value < x''" if text else "value < ''"
            return f"{among} AND value {order} json_extract(?, '$[0]')", [_listed((value,))]


def json_path(key: str) -> str:
    """Where a key stands in the metadata, as SQLite writes it."""
    return f'$."{key}"'


def _same_kind(key: str, comparison: str, values: Sequence[Scalar]) -> Sql:
    """A comparison that is false, not NULL or SQLite's own order, where the types differ.

    Of a list it asks whether it is true for an element.
    """
    text = isinstance(values[0], str)
    bound = _listed(values)
    if key == "source":
        return f"({int(text)} AND source {comparison})", [bound]
    kinds, path = _TEXTS if text else _NUMBERS, json_path(key)
    one = f"coalesce(json_type(metadata, ?) IN {kinds}, 0) AND json_extract(metadata, ?)"
    each = f"SELECT 1 FROM json_each(metadata, ?) WHERE type IN {kinds} AND value"  # noqa: S608
    within = f"CASE json_type(metadata, ?) WHEN 'array' THEN EXISTS ({each} {comparison})"
    return f"{within} ELSE {one} {comparison} END", [path, path, bound, path, path, bound]


def _listed(values: Sequence[Scalar]) -> str:
    # Bound as JSON, so that SQLite reads the digits of these numbers and of stored ones alike.
    return json.dumps(values)
