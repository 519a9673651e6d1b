"""Metadata filters: `{"year": {"$gte": 1990}, "lang": "en"}` compiled to SQL.

A value stands for equality. Operators: `$eq $ne $in $nin $gt $gte $lt $lte` on a key, `$and $or`
over a list of filters; several keys, or several operators on one key, must all hold. `$ne` and
`$nin` are the exact complements of `$eq` and `$in`, so they are true if the key is missing; None
equals a missing key. Numbers are ordered among themselves and strings too; a comparison between
the two is false. The key `source` is the source's URI.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rag.errors import InputError
from rag.text.surrogates import escape_surrogates

ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = ("$eq", "$ne", "$in", "$nin", *ORDER)
NUMBERS = "('integer', 'real', 'true', 'false')"
TEXTS = "('text')"
MOST_PARTS = 500  # SQLite's own limit, on the depth of an expression, is 1000

Sql = tuple[str, list[Any]]


def compile_filter(where: Mapping[str, Any]) -> Sql:
    """Compile a filter to a condition on the table `chunks`.

    Args:
        where: The filter.

    Returns:
        An SQL expression that is never NULL, and its parameters. Values and keys of the filter
        appear among the parameters only.

    Raises:
        InputError: An operator is unknown, or a key or value cannot be compared.
    """
    if not isinstance(where, Mapping):
        raise _wrong(f"a filter is a mapping, not {type(where).__name__}")
    return _join("AND", [_clause(key, condition) for key, condition in where.items()])


def _clause(key: str, condition: Any) -> Sql:
    if key in ("$and", "$or"):
        if not isinstance(condition, list | tuple):
            raise _wrong(f"{key} takes a list of filters")
        return _join(key[1:].upper(), [compile_filter(part) for part in condition])
    if not isinstance(key, str) or not key or key.startswith("$") or '"' in key:
        raise _wrong(f"{key!r} is not a metadata key")
    if not isinstance(condition, Mapping):
        return _equal(key, condition)
    return _join("AND", [_operator(key, name, value) for name, value in condition.items()])


def _operator(key: str, name: str, value: Any) -> Sql:
    if name in ORDER:
        if value is None:
            raise _wrong(f"{key!r} cannot be ordered against None")
        return _typed(key, f"{ORDER[name]} %s", value)
    if name in ("$in", "$nin"):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise _wrong(f"{name} of {key!r} takes a list of values")
        sql, parameters = _among(key, list(value))
        return (f"NOT {sql}" if name == "$nin" else sql), parameters
    if name in ("$eq", "$ne"):
        sql, parameters = _equal(key, value)
        return (f"NOT {sql}" if name == "$ne" else sql), parameters
    raise _wrong(f"{name!r} of {key!r} is not an operator; known: {', '.join(OPERATORS)}")


def _equal(key: str, value: Any) -> Sql:
    if value is None:
        column, path = _column(key)
        return f"({column} IS NULL)", path
    return _typed(key, "= %s", value)


def _among(key: str, values: list[Any]) -> Sql:
    """Equality with one of any number of values, which are bound as one list for each type."""
    parts = [_equal(key, None)] if None in values else []
    texts = [_value(key, value) for value in values if isinstance(value, str)]
    others = [_value(key, value) for value in values if not isinstance(value, str | None)]
    for group in (texts, others):
        if group:
            listed = f"[{', '.join(group)}]"
            parts.append(_same_type(key, "IN (SELECT value FROM json_each(?))", group[0], listed))
    return _join("OR", parts)


def _typed(key: str, comparison: str, value: Any) -> Sql:
    # Bound as JSON, so that SQLite reads the digits of this number and of the stored one alike.
    bound = _value(key, value)
    return _same_type(key, comparison % "json_extract(?, '$')", bound, bound)


def _same_type(key: str, comparison: str, example: str, bound: str) -> Sql:
    """A comparison that is false, not NULL or SQLite's own order, where the types differ."""
    column, path = _column(key)
    text = example.startswith('"')
    if key == "source":
        return f"({int(text)} AND source {comparison})", [bound]
    fits = f"coalesce(json_type(metadata, ?) IN {TEXTS if text else NUMBERS}, 0)"
    return f"({fits} AND {column} {comparison})", [*path, *path, bound]


def _value(key: str, value: Any) -> str:
    """A value as JSON."""
    if not isinstance(value, str | int | float):
        raise _wrong(f"{key!r} cannot be compared with a {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(f"{key!r} cannot be compared with {value}")
    return json.dumps(escape_surrogates(value) if isinstance(value, str) else value)


def _column(key: str) -> Sql:
    if key == "source":
        return "source", []
    return "json_extract(metadata, ?)", [f'$."{escape_surrogates(key)}"']


def _join(connective: str, parts: list[Sql]) -> Sql:
    if not parts:
        return ("1" if connective == "AND" else "0"), []
    if len(parts) > MOST_PARTS:
        raise _wrong(f"a filter of {len(parts)} conditions is too long; $in takes any number")
    sql = f" {connective} ".join(sql for sql, _ in parts)
    return f"({sql})", [value for _, values in parts for value in values]


def _wrong(what: str) -> InputError:
    return InputError(what, where="where", fix='write for example {"year": {"$gte": 1990}}')
