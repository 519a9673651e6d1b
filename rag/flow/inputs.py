"""The inputs of a flow: their types, and the defaults of those that may be left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag.errors import ConfigError
from rag.flow.types import fits, matcher, show


@dataclass(frozen=True)
class Input:
    """An input of a flow that may be left out.

    Args:
        type: The type of its values.
        default: Its value where a caller gives none.
    """

    type: Any
    default: Any


def parse_inputs(given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Channel to type, and to default for those that may be left out.

    Args:
        given: Channel to type or to an `Input`; an input whose type allows None has it as default.

    Raises:
        ConfigError: It is no mapping, or a default is of another type.
    """
    if not isinstance(given, Mapping):
        fix = "write inputs={'query': str}"
        raise ConfigError(f"inputs is {given!r}, not a mapping", fix=fix)
    kinds: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for name, kind in given.items():
        if isinstance(kind, Input):
            kinds[name], defaults[name] = kind.type, kind.default
            if not matcher(kind.type)(kind.default):
                what = f"the default of {name!r} is {kind.default!r}, {show(kind.type)} is wanted"
                raise ConfigError(what, where=f"inputs.{name}")
        else:
            kinds[name] = kind
            if kind is not Any and fits(type(None), kind):
                defaults[name] = None
    return kinds, defaults
