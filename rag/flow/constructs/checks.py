"""Checks that constructs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from rag.errors import ConfigError
from rag.flow.node import Node, as_node
from rag.names import suggestion

OnError = Literal["fail", "skip"]
"""What a branch that fails does: cancels its siblings and fails the node, or is left out."""


def one_of(field: str, value: Any, options: Any) -> None:
    """See that a field has one of the values of a `Literal`.

    Raises:
        ConfigError: It has another.
    """
    if value not in get_args(options):
        known = [str(option) for option in get_args(options)]
        raise ConfigError(f"{field} is {value!r}", fix=suggestion(str(value), known, label="write"))


def whole(field: str, value: Any) -> None:
    """See that a field is a whole number from 1.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{field} is {value!r}", fix="give a whole number from 1")


def expression_text(field: str, value: Any) -> None:
    """See that a field is the text of an expression.

    Raises:
        ConfigError: It is something else, a lambda say.
    """
    if not isinstance(value, str):
        kind = "a function" if callable(value) else f"{type(value).__name__}"
        raise ConfigError(
            f"{field} is {kind}, not an expression",
            fix=f'write it as text over channels: {field}="len(documents) > 3"',
        )


def texts(field: str, value: Any) -> tuple[str, ...]:
    """A field that lists channels; one text stands for a list of one.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(item, str) for item in value
    ):
        raise ConfigError(f"{field} is {value!r}", fix=f'list channels: {field}=["query"]')
    return tuple(value)


def renames(field: str, value: Any) -> dict[str, str]:
    """A field that maps names to channels.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{field} is {value!r}", fix=f'write {field}={{"name": "channel"}}')
    return {str(name): str(channel) for name, channel in value.items()}


def nodes(field: str, value: Any) -> dict[str, Node]:
    """A field that maps names to nodes.

    Raises:
        ConfigError: It is none, or empty.
    """
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{field} has no branches", fix="name at least one: {name: step}")
    return {str(name): as_node(node) for name, node in value.items()}


def optional_node(value: Any) -> Node | None:
    """A node, or None."""
    return None if value is None else as_node(value)
