"""Composers by name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from rag.errors import ConfigError
from rag.kvcache import composers as package
from rag.kvcache.composers.base import Composer
from rag.names import suggestion


@cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def composers() -> dict[str, type[Composer]]:
    """Mode to composer: those of this package, and all other classes that were defined."""
    _import_all()
    return dict(sorted(Composer.registered.items()))


def warmable() -> list[str]:
    """The modes whose states can be computed before any question."""
    return [mode for mode, kind in composers().items() if kind.stores in ("chunks", "variants")]


def composer(mode: str) -> type[Composer]:
    """The composer of a mode.

    Raises:
        ConfigError: There is none.
    """
    known = composers()
    if mode not in known:
        raise ConfigError(
            f"there is no mode {mode!r} to reuse states",
            where="reuse.mode",
            fix=suggestion(mode, known),
        )
    return known[mode]
