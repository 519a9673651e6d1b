"""Operators by the names that pipeline files use.

An installed package offers operators by an entry point in the group `rag.operators`: an
operator class, or a catalogue (a mapping from name to `module:Class`), which costs no import
until a name is asked for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from rag.errors import ConfigError
from rag.flow.operator import Brick, Operator
from rag.names import nearest

GROUP = "rag.operators"


class Registry(Mapping[str, type[Operator]]):
    """Name to operator: those given, then those of installed packages.

    Args:
        extra: Operators known to this registry only.
        allow_import: Packages from which `module:Class` may be named as well.
    """

    def __init__(
        self,
        extra: Mapping[str, type[Operator] | Brick[..., Any]] | None = None,
        allow_import: tuple[str, ...] = (),
    ) -> None:
        self._extra: dict[str, Any] = dict(extra or {})
        self._allowed = allow_import

    def __getitem__(self, name: str) -> type[Operator]:
        """The operator called `name`.

        Raises:
            ConfigError: There is none, or it may not be imported.
        """
        if name in self._extra:
            return cast(type[Operator], self._extra[name])
        if ":" in name:
            return self._dotted(name)
        if name not in installed():
            near = nearest(name, self)
            hint = f"did you mean {near!r}? " if near else ""
            fix = f"{hint}`rag operators` lists them"
            raise ConfigError(f"there is no operator {name!r}", fix=fix)
        return _operator(installed()[name], name)

    def __contains__(self, name: object) -> bool:
        return name in self._extra or name in installed()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._extra, *installed()}))

    def __len__(self) -> int:
        return len({*self._extra, *installed()})

    def name_of(self, kind: type[Operator]) -> str:
        """The name that a pipeline file uses for `kind`.

        Raises:
            ConfigError: It has none: it was made inside a function, say.
        """
        known = self._extra.get(kind.use)
        if known is None and kind.use in installed():
            known = self[kind.use]
        if known is kind:
            return str(kind.use)
        where = f"{kind.__module__}:{kind.__qualname__}"
        module = sys.modules.get(kind.__module__)
        if getattr(module, kind.__qualname__, None) is not kind:
            raise ConfigError(
                f"the operator {kind.use!r} has no name that a pipeline file could use",
                fix="define it in a module, at the top level",
            )
        return where

    def _dotted(self, name: str) -> type[Operator]:
        package = name.split(":", maxsplit=1)[0].split(".", maxsplit=1)[0]
        if package not in self._allowed:
            raise ConfigError(
                f"{name!r} would import the package {package!r}, which is not allowed",
                fix=f"allow it: --allow-import {package}",
            )
        return _operator(name, name)


@lru_cache(maxsize=1)
def installed() -> Mapping[str, str | EntryPoint]:
    """The operators that installed packages offer: name to where the class is."""
    found: dict[str, str | EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.attr == "CATALOGUE":
            found.update(entry.load())
        else:
            found[entry.name] = entry
    return found


def _operator(where: str | EntryPoint, name: str) -> type[Operator]:
    try:
        loaded: Any = where.load() if isinstance(where, EntryPoint) else _import(where)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the operator {name!r} cannot be imported: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Operator)):
        raise ConfigError(f"{name!r} is {loaded!r}, which is not an operator")
    return loaded


def _import(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)
