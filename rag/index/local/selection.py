"""Which chunks pass a filter."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rag.index.filters import AnyOf, Condition, Every, Leaf, Missing, Not
from rag.index.local.conditions import on_chunks, on_values
from rag.index.local.declared import declared

if TYPE_CHECKING:
    import numpy as np


def passing(
    connection: sqlite3.Connection, condition: Condition, first: int, last: int
) -> np.ndarray:
    """The chunks that pass, as bool [last - first + 1]; of deleted rows nothing is said.

    Conditions on declared keys and on `source` are answered by their indexes; what else the
    condition says is tested on the metadata of all of these chunks.

    Args:
        connection: In a transaction.
        condition: From `parse_filter`.
        first: The first row that counts.
        last: The last, at least `first` - 1.
    """
    return _Selector(connection, first, last).passing(condition)


class _Selector:
    def __init__(self, connection: sqlite3.Connection, first: int, last: int) -> None:
        self._connection = connection
        self._first, self._count = first, last - first + 1
        self._keys = declared(connection)

    def passing(self, condition: Condition) -> np.ndarray:
        """See `passing`."""
        import numpy as np

        if not self._indexed(condition):
            return self._by_metadata(condition)
        match condition:
            case Every(parts):
                return self._combined(np.logical_and, parts, Every)
            case AnyOf(parts):
                return self._combined(np.logical_or, parts, AnyOf)
            case Not(part):
                return ~self.passing(part)
            case _:
                return self._by_index(condition)

    def _indexed(self, condition: Condition) -> bool:
        """Whether any part of the condition is answered by an index."""
        match condition:
            case Every(parts) | AnyOf(parts):
                return any(self._indexed(part) for part in parts)
            case Not(part):
                return self._indexed(part)
            case _:
                return condition.key in self._keys or condition.key == "source"

    def _combined(
        self,
        combine: Callable[[np.ndarray, np.ndarray], np.ndarray],
        parts: Sequence[Condition],
        kind: type[Every | AnyOf],
    ) -> np.ndarray:
        """The parts that no index answers are tested together, so that metadata is read once."""
        found = [self.passing(part) for part in parts if self._indexed(part)]
        others = tuple(part for part in parts if not self._indexed(part))
        if others:
            found.append(self._by_metadata(kind(others)))
        result = found[0]
        for one in found[1:]:
            result = combine(result, one)
        return result

    def _by_index(self, condition: Leaf) -> np.ndarray:
        if condition.key == "source":
            return self._by_metadata(condition)
        where, parameters = on_values(condition)
        key = self._keys[condition.key]
        found = self._rows(f"filter_values WHERE key = ? AND {where}", [key, *parameters])
        return ~found if isinstance(condition, Missing) else found

    def _by_metadata(self, condition: Condition) -> np.ndarray:
        where, parameters = on_chunks(condition)
        return self._rows(f"chunks WHERE {where}", parameters)

    def _rows(self, source: str, parameters: Sequence[object]) -> np.ndarray:
        import numpy as np

        sql = f"SELECT row FROM {source} AND row >= ?"  # noqa: S608 - values are bound
        rows = self._connection.execute(sql, (*parameters, self._first))
        chosen = np.zeros(self._count, dtype=bool)
        chosen[np.fromiter((row for (row,) in rows), dtype=np.int64) - self._first] = True
        return chosen
