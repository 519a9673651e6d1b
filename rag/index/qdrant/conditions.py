"""Metadata filters as Qdrant's, over fields of their own in the payload.

Qdrant orders no strings, tells no empty list from none, and keeps one index of a field for values
of one kind. So a key has fields of its own: `s_KEY` with its strings, `n_KEY` with its numbers (of
lists their elements, into which Qdrant's comparisons look), and `p_KEY` says that it is there; the
key in hexadecimal, since a dot or a bracket in it would be a path. A comparison of strings becomes
the list of those that are stored and satisfy it.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable
from typing import Any

from rag.index.filters import AnyOf, Condition, Every, Missing, Not, OneOf, Ordered

Values = Callable[[str], Iterable[str]]
"""A field to the different strings that are stored in it."""

_SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_RANGES = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_LARGEST = 2**63


def fields_of(metadata: str) -> dict[str, Any]:
    """The fields of a chunk that filters compare.

    Args:
        metadata: JSON.
    """
    found: dict[str, Any] = {}
    for key, value in json.loads(metadata).items():
        if value is None:
            continue
        found[field("p", key)] = True
        among = value if isinstance(value, list) else [value]
        if texts := [one for one in among if isinstance(one, str)]:
            found[field("s", key)] = texts
        if numbers := [_number(one) for one in among if isinstance(one, int | float)]:
            found[field("n", key)] = numbers
    return found


def field(kind: str, key: str) -> str:
    """The field of a metadata key: of its strings (`s`), numbers (`n`), presence (`p`)."""
    if key == "source":
        return key
    return f"{kind}_{key.encode().hex()}"


def on_points(condition: Condition, values: Values) -> Any:
    """A condition as a `qdrant_client.models.Filter`."""
    from qdrant_client import models

    match condition:
        case Every(parts):
            return models.Filter(must=[on_points(part, values) for part in parts])
        case AnyOf(parts):
            return _any([on_points(part, values) for part in parts])
        case Not(part):
            return models.Filter(must_not=[on_points(part, values)])
        case Missing("source"):
            return _any([])
        case Missing(key):
            there = models.FieldCondition(key=field("p", key), match=models.MatchValue(value=True))
            return models.Filter(must_not=[there])
        case OneOf(key, found):
            texts = [value for value in found if isinstance(value, str)]
            numbers = [_number(value) for value in found if not isinstance(value, str)]
            whole = [value for value in numbers if isinstance(value, int)]
            ways = [_among(field("s", key), texts)] if texts else []
            if key == "source":
                return _any(ways)
            ways += [_among(field("n", key), whole)] if whole else []
            ways += [
                _range(field("n", key), gte=value, lte=value)
                for value in numbers
                if isinstance(value, float)
            ]
            return _any(ways)
        case Ordered(key, order, str(value)):
            sign, name = _SIGNS[order], field("s", key)
            fit = [one for one in values(name) if sign(one, value)]
            return _any([_among(name, fit)] if fit else [])
        case Ordered("source", _, _):
            return _any([])
        case Ordered(key, order, value):
            return _range(field("n", key), **{_RANGES[order]: float(value)})


def _any(parts: list[Any]) -> Any:
    from qdrant_client import models

    return models.Filter(should=parts) if parts else models.HasIdCondition(has_id=[])


def _among(name: str, values: list[Any]) -> Any:
    from qdrant_client import models

    return models.FieldCondition(key=name, match=models.MatchAny(any=values))


def _range(name: str, **bounds: float) -> Any:
    from qdrant_client import models

    return models.FieldCondition(key=name, range=models.Range(**bounds))


def _number(value: float) -> int | float:
    """The number as it is stored: whole ones as integers, so that each equals one value."""
    if isinstance(value, float) and not value.is_integer():
        return value
    whole = int(value)
    return whole if -_LARGEST <= whole < _LARGEST else float(value)
