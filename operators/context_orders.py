"""In which orders contexts were read before."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, PositiveInt

from rag.flow.resources import Resource, Spec

Order = tuple[str, ...]


class ContextOrdersSpec(Spec):
    """What a pipeline may say of the orders that are remembered."""

    max_orders: PositiveInt = Field(
        default=4096, description="orders that are remembered; the least recently used go first"
    )


class ContextOrders(Resource):
    """The latest orders of contexts, as a radix tree: which beginnings were read before.

    It lives as long as the flow that opened it. Safe from any thread.

    Args:
        max_orders: Orders that are remembered.
    """

    default: ClassVar[Any] = {}
    Spec = ContextOrdersSpec
    shorthand = None

    def __init__(self, max_orders: int = 4096) -> None:
        self.max_orders = max_orders
        self._lock = threading.Lock()
        self._orders: OrderedDict[Order, None] = OrderedDict()
        self._beginnings: Counter[Order] = Counter()
        """How many of the orders begin so."""
        self._uses: Counter[str] = Counter()
        """How many of the orders hold a context."""

    @classmethod
    def open(cls, spec: ContextOrdersSpec, *, base: Path) -> Self:
        """See `Resource.open`."""
        return cls(spec.max_orders)

    def order(self, sizes: Mapping[str, int]) -> Order:
        """The order of contexts that repeats most of an earlier one, which is remembered.

        It starts with the longest beginning of an earlier order that consists of these contexts.
        The rest follows by how many remembered orders hold it, so that what is frequent comes
        first in later orders too; what is equally frequent stays in the order given.

        Args:
            sizes: Context to its size, in any unit, most relevant first.
        """
        with self._lock:
            start = self._longest((), sizes)
            rest = [one for one in sizes if one not in start]
            found = (*start, *sorted(rest, key=lambda one: -self._uses[one]))
            self._remember(found)
        return found

    def _longest(self, beginning: Order, sizes: Mapping[str, int]) -> Order:
        """The longest earlier beginning, by size, that starts with one and goes on with these."""
        best = beginning
        for one in sizes:
            if one not in beginning and (longer := (*beginning, one)) in self._beginnings:
                found = self._longest(longer, sizes)
                if _size(found, sizes) > _size(best, sizes):
                    best = found
        return best

    def _remember(self, order: Order) -> None:
        if order in self._orders:
            self._orders.move_to_end(order)
            return
        self._orders[order] = None
        self._count(order, 1)
        if len(self._orders) > self.max_orders:
            self._count(self._orders.popitem(last=False)[0], -1)

    def _count(self, order: Order, by: int) -> None:
        keys: list[tuple[Counter[Any], Any]] = [(self._uses, one) for one in order]
        keys += [(self._beginnings, order[:end]) for end in range(1, len(order) + 1)]
        for counter, key in keys:
            counter[key] += by
            if not counter[key]:
                del counter[key]


def _size(order: Order, sizes: Mapping[str, int]) -> int:
    return sum(sizes[one] for one in order)
