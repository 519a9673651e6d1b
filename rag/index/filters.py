"""Metadata filters: `{"year": {"$gte": 1990}, "lang": "en"}`, parsed into conditions.

A value stands for equality. Operators: `$eq $ne $in $nin $gt $gte $lt $lte` on a key, `$and $or`
over a list of filters; several keys, or several operators on one key, must all hold. `$ne` and
`$nin` are the exact complements of `$eq` and `$in`, so they are true if the key is missing; None
equals a missing key. Numbers are ordered among themselves and strings too; a comparison between
the two is false. A list equals each of its elements, and is ordered as each of them: a condition
holds that holds for one (`{"tags": "lock"}` finds `tags: [lock, ferry]`); none holds for an empty
list or for a mapping. The key `source` is the source's URI. A store translates the conditions into
its own language.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rag.errors import InputError
from rag.text.surrogates import escape_surrogates

Order = Literal[">", ">=", "<", "<="]
ORDER: dict[str, Order] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = ("$eq", "$ne", "$in", "$nin", *ORDER)
MOST_PARTS = 500  # SQLite's own limit, on the depth of an expression, is 1000

Scalar = str | int | float | bool
"""A value that is compared; a boolean counts as the number 0 or 1."""


@dataclass(frozen=True)
class Every:
    """All parts hold; without parts true."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """A part holds; without parts false."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Condition


@dataclass(frozen=True)
class Missing:
    """The key is missing, or its value is null."""

    key: str


@dataclass(frozen=True)
class OneOf:
    """The value, or an element of it, is one of `values`; these are all strings or all numbers."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Ordered:
    """The value, or an element of it, is of the kind of `value` and stands in that order to it."""

    key: str
    order: Order
    value: Scalar


Leaf = Missing | OneOf | Ordered
"""A condition on one key."""
Condition = Every | AnyOf | Not | Leaf
Sql = tuple[str, list[Any]]
"""An expression and its parameters."""


def parse_filter(where: Mapping[str, Any]) -> Condition:
    """The condition that a filter describes.

    Args:
        where: The filter.

    Raises:
        InputError: An operator is unknown, or a key or value cannot be compared.
    """
    if not isinstance(where, Mapping):
        raise _wrong(f"a filter is a mapping, not {type(where).__name__}")
    return Every(_few([_clause(key, condition) for key, condition in where.items()]))


def as_sql(condition: Condition, leaf: Callable[[Leaf], Sql], true: str, false: str) -> Sql:
    """A condition as an SQL expression, of those that a store makes of its leaves.

    Args:
        condition: What has to hold.
        leaf: Makes an expression, never NULL, of a condition on one key.
        true: What the store's SQL calls true.
        false: And false.
    """
    match condition:
        case Not(part):
            sql, parameters = as_sql(part, leaf, true, false)
            return f"NOT {sql}", parameters
        case Every(parts) | AnyOf(parts):
            every = isinstance(condition, Every)
            if not parts:
                return (true if every else false), []
            found = [as_sql(part, leaf, true, false) for part in parts]
            sql = (" AND " if every else " OR ").join(sql for sql, _ in found)
            return f"({sql})", [value for _, values in found for value in values]
        case _:
            return leaf(condition)


def _clause(key: str, condition: Any) -> Condition:
    if key in ("$and", "$or"):
        if not isinstance(condition, list | tuple):
            raise _wrong(f"{key} takes a list of filters")
        parts = _few([parse_filter(part) for part in condition])
        return Every(parts) if key == "$and" else AnyOf(parts)
    if not isinstance(key, str) or not key or key.startswith("$") or '"' in key:
        raise _wrong(f"{key!r} is not a metadata key")
    key = escape_surrogates(key)
    if not isinstance(condition, Mapping):
        return _among(key, [condition])
    return Every(_few([_operator(key, name, value) for name, value in condition.items()]))


def _operator(key: str, name: str, value: Any) -> Condition:
    if name in ORDER:
        if value is None:
            raise _wrong(f"{key!r} cannot be ordered against None")
        return Ordered(key, ORDER[name], _value(key, value))
    if name in ("$in", "$nin"):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise _wrong(f"{name} of {key!r} takes a list of values")
        found = _among(key, list(value))
        return Not(found) if name == "$nin" else found
    if name in ("$eq", "$ne"):
        found = _among(key, [value])
        return Not(found) if name == "$ne" else found
    raise _wrong(f"{name!r} of {key!r} is not an operator; known: {', '.join(OPERATORS)}")


def _among(key: str, values: list[Any]) -> Condition:
    """Equality with one of any number of values."""
    scalars = [_value(key, value) for value in values if value is not None]
    texts = tuple(value for value in scalars if isinstance(value, str))
    numbers = tuple(value for value in scalars if not isinstance(value, str))
    parts: list[Condition] = [OneOf(key, group) for group in (texts, numbers) if group]
    if None in values:
        parts.append(Missing(key))
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _value(key: str, value: Any) -> Scalar:
    if not isinstance(value, str | int | float):
        raise _wrong(f"{key!r} cannot be compared with a {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(f"{key!r} cannot be compared with {value}")
    return escape_surrogates(value) if isinstance(value, str) else value


def _few(parts: list[Condition]) -> tuple[Condition, ...]:
    if len(parts) > MOST_PARTS:
        raise _wrong(f"a filter of {len(parts)} conditions is too long; $in takes any number")
    return tuple(parts)


def _wrong(what: str) -> InputError:
    return InputError(what, where="where", fix='write for example {"year": {"$gte": 1990}}')
