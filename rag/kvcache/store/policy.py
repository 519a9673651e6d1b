"""Which entry goes when there is no room."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from rag.errors import ConfigError

Priority = Callable[[float, int, float, int, float], float]
"""Takes last use, uses, cost in seconds, bytes and the clock; the lowest goes first."""

POLICIES: dict[str, Priority] = {
    "lru": lambda used, uses, cost, size, clock: used,
    "lfu": lambda used, uses, cost, size, clock: clock + uses,
    # GreedyDual-Size-Frequency (Cherkasova 1998), as RAGCache and Cache-Craft use it: what saves
    # most seconds per byte stays; the clock lets what was good long ago age.
    "cost": lambda used, uses, cost, size, clock: clock + uses * cost / max(size, 1) * 1e6,
}


def policy(name: str) -> Priority:
    """The policy called `name`.

    Raises:
        ConfigError: There is none.
    """
    if name not in POLICIES:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        fix = f"{hint}known: {', '.join(POLICIES)}"
        raise ConfigError(f"there is no eviction policy {name!r}", where="kv.policy", fix=fix)
    return POLICIES[name]
