"""`NAME=VALUE` on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import typer


def pairs(items: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` items as a mapping.

    Raises:
        BadParameter: An item is not of this form; the message names the option.
    """
    values = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE", param_hint=option)
        values[name] = value
    return values


def typed(values: Mapping[str, str], types: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as values of the types that a flow declares; a name without a type stays text.

    Raises:
        InputError: A text is not of its type.
    """
    return {name: _typed(name, text, types.get(name, Any)) for name, text in values.items()}


def _typed(name: str, text: str, kind: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from rag.errors import InputError
    from rag.flow.types import show

    if kind in (str, Any):
        return text
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_json(text)
    except ValidationError:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise InputError(
                f"{name}={text!r} is not {show(kind)}",
                where="NAME=VALUE",
                fix="write lists and mappings as JSON",
            ) from error
