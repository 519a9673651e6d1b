"""What a function's code refers to, read from its bytecode."""

from __future__ import annotations

import dis
import sys
import sysconfig
import types
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as metadata_version
from pathlib import Path
from weakref import WeakKeyDictionary

Chain = tuple[str, ...]
"""A name and the attributes that are read from it: `("helpers", "clean")`."""

_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_FREE = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


@dataclass(frozen=True, slots=True)
class Names:
    """What the code of a function, with the functions inside it, refers to.

    Args:
        globals: The names of its module that it reads.
        free: The names of its closure that it reads.
        stored: The names of either that it assigns.
    """

    globals: tuple[Chain, ...]
    free: tuple[Chain, ...]
    stored: frozenset[str]


_KNOWN: WeakKeyDictionary[types.CodeType, Names] = WeakKeyDictionary()


def names_of(code: types.CodeType) -> Names:
    """What a code object refers to; read once."""
    found = _KNOWN.get(code)
    if found is None:
        found = _KNOWN[code] = _read(code)
    return found


def _read(code: types.CodeType) -> Names:
    names: dict[Chain, None] = {}
    free: dict[Chain, None] = {}
    stored: set[str] = set()
    for inner in _all(code):
        found = [one for one in dis.get_instructions(inner) if one.opname != "PUSH_NULL"]
        for index, one in enumerate(found):
            if one.opname in _GLOBAL:
                names[_chain(found, index)] = None
            elif one.opname in _FREE:
                free[_chain(found, index)] = None
            elif one.opname.startswith(("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF")):
                stored.add(one.argval)
    return Names(tuple(names), tuple(free), frozenset(stored))


def _all(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all(constant)


def _chain(instructions: list[dis.Instruction], index: int) -> Chain:
    chain = [instructions[index].argval]
    for one in instructions[index + 1 :]:
        if one.opname not in _ATTRIBUTES:
            break
        chain.append(one.argval)
    return tuple(chain)


@lru_cache(maxsize=4096)
def is_own(module: str | None) -> bool:
    """Whether a module is the user's own: no part of Python, of a library or of this package."""
    top = (module or "").partition(".")[0]
    if top == __name__.partition(".")[0] or top in sys.stdlib_module_names:
        return top == "__main__"
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    if file is None:
        return True
    path = Path(file)
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not path.is_relative_to(sysconfig.get_path("stdlib"))


@lru_cache(maxsize=1)
def version() -> str:
    """The version of this package, whose own functions are told by it."""
    with suppress(PackageNotFoundError):
        return metadata_version("modular-rag")
    return ""
