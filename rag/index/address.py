"""From what a pipeline says of an index to where it is: a folder, or the address of a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from rag.errors import ConfigError
from rag.index.spec import IndexSpec
from rag.names import suggestion

if TYPE_CHECKING:
    from rag.index.store import Address

GROUP = "rag.stores"
"""The entry points of other stores: scheme to what makes an address of a text."""
STORES: dict[str, str] = {
    "postgres": "rag.index.postgres.address:address",
    "postgresql": "rag.index.postgres.address:address",
    "qdrant": "rag.index.qdrant.address:address",
    "qdrant+file": "rag.index.qdrant.address:address",
    "qdrant+https": "rag.index.qdrant.address:address",
}
"""Scheme to what makes an address of a text, of the stores that come with the library."""

Maker: TypeAlias = "Callable[[str, Path], Address]"
"""Takes the text that begins with the scheme, and the folder that relative paths start from.

Raises a `ConfigError` where the text is no address.
"""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def address_of(spec: IndexSpec | Address | Path | str, base: Path = Path()) -> Address:
    """Where an index is.

    Args:
        spec: What a pipeline says of it, a folder, or an address such as
            `postgresql://host/database`.
        base: The folder that a relative path starts from.

    Raises:
        ConfigError: There is no such kind of store, or the text is no address of one.
    """
    from rag.index.local.address import FolderAddress

    if isinstance(spec, IndexSpec):
        spec = spec.path
    if isinstance(spec, Path):
        return FolderAddress(base / spec.expanduser())
    if not isinstance(spec, str):
        return spec
    scheme = _SCHEME.match(spec)
    if scheme is None:
        return FolderAddress(base / Path(spec).expanduser())
    return _maker(scheme.group(1))(spec, base)


def _maker(scheme: str) -> Maker:
    if scheme in STORES:
        module, _, name = STORES[scheme].partition(":")
        return cast(Maker, getattr(import_module(module), name))
    others = {entry.name: entry for entry in _others()}
    if scheme in others:
        return cast(Maker, others[scheme].load())
    known = sorted({*STORES, *others})
    raise ConfigError(
        f"no store is called {scheme!r}", where="index", fix=suggestion(scheme, known)
    )


@lru_cache(maxsize=1)
def _others() -> tuple[Any, ...]:
    return tuple(entry_points(group=GROUP))
