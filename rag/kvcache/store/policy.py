"""Which entry is evicted when there is no room."""

from __future__ import annotations

from collections.abc import Callable

from rag.errors import ConfigError
from rag.names import suggestion

Priority = Callable[[float, int, float, int, float], float]
"""From last use, uses, cost in seconds, bytes and clock to a number; the lowest is evicted first.

The clock is the highest priority that was evicted so far. What adds it ages: an entry that is not
used keeps its old clock, and new ones overtake it (LFU with dynamic ageing, Arlitt et al. 2000).
"""

POLICIES: dict[str, Priority] = {
    "lru": lambda used, uses, cost, size, clock: used,
    "lfu": lambda used, uses, cost, size, clock: clock + uses,
    # GreedyDual-Size-Frequency (Cherkasova 1998), as in RAGCache and Cache-Craft: what saves most
    # seconds per byte stays.
    "cost": lambda used, uses, cost, size, clock: clock + uses * cost / max(size, 1) * 1e6,
}


def policy(name: str) -> Priority:
    """The policy called `name`.

    Raises:
        ConfigError: There is none.
    """
    if name not in POLICIES:
        what = f"there is no eviction policy {name!r}"
        raise ConfigError(what, where="kv.policy", fix=suggestion(name, POLICIES))
    return POLICIES[name]
