"""Types of channels: does one fit another, does a value fit, how is one written in YAML."""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from langchain_core.documents import Document

NAMES: dict[str, Any] = {
    "any": Any,
    "bool": bool,
    "dict": dict,
    "float": float,
    "int": int,
    "list": list,
    "none": None,
    "str": str,
    "Document": Document,
}
"""What a type in a pipeline file is made of, besides `[...]` and `|`."""

_WIDER: dict[Any, tuple[Any, ...]] = {int: (float, complex), float: (complex,)}


def show(kind: Any) -> str:
    """The type as a person writes it: `list[Document]`, `str | None`."""
    if kind is Any:
        return "any"
    if kind is None or kind is type(None):
        return "none"
    if is_union(kind):
        return " | ".join(show(arg) for arg in get_args(kind))
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is None:
        return str(getattr(kind, "__name__", kind))
    inner = ", ".join("..." if arg is ... else show(arg) for arg in args)
    return f"{show(origin)}[{inner}]"


def parse(text: str) -> Any:
    """The type that `text` names, as pipeline files write it.

    Raises:
        ValueError: `text` is not made of the names in `NAMES`, `[...]` and `|`.
    """
    try:
        return _parse(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not a type") from error


def _parse(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_parse(left), _parse(right)]  # noqa: UP007 - the members are values
        case ast.Subscript(value=value, slice=ast.Tuple(elts=items)):
            return _parse(value)[tuple(_parse(item) for item in items)]
        case ast.Subscript(value=value, slice=item):
            return _parse(value)[_parse(item)]
    raise ValueError(f"{ast.unparse(node)!r} is not a type; known names: {', '.join(NAMES)}")


def fits(given: Any, wanted: Any) -> bool:
    """Whether every value of type `given` may go where `wanted` is read.

    Generics are covariant: channels are read, not mutated in place. `Any` fits either way.
    """
    given, wanted = _plain(given), _plain(wanted)
    if given is wanted or Any in (given, wanted) or wanted is object:
        return True
    if is_union(given):
        return all(fits(arg, wanted) for arg in get_args(given))
    if is_union(wanted):
        return any(fits(given, arg) for arg in get_args(wanted))
    if get_origin(given) is Literal:
        values = get_args(given)
        if get_origin(wanted) is Literal:
            return set(values) <= set(get_args(wanted))
        return all(fits(type(value), wanted) for value in values)
    if get_origin(wanted) is Literal:
        return False
    if wanted in _WIDER.get(given, ()):
        return True
    given_class, wanted_class = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(given_class, type) and isinstance(wanted_class, type)):
        return bool(given == wanted)
    # A string is a sequence of strings to Python, and a mistake to everybody else.
    if given_class is str and wanted_class in (Sequence, Iterable):
        return False
    try:
        if not issubclass(given_class, wanted_class):
            return False
    except TypeError:  # a protocol that cannot be asked
        return True
    return _arguments_fit(given, wanted)


def _arguments_fit(given: Any, wanted: Any) -> bool:
    have, want = get_args(given), get_args(wanted)
    if not have or not want:
        return True
    if get_origin(given) is tuple:
        have = _tuple_items(have, len(want))
        want = _tuple_items(want, len(have)) if get_origin(wanted) is tuple else want
        if get_origin(wanted) is not tuple:
            return all(fits(arg, want[0]) for arg in have)
    if len(have) != len(want):
        return True
    return all(fits(h, w) for h, w in zip(have, want, strict=True))


def _tuple_items(args: tuple[Any, ...], length: int) -> tuple[Any, ...]:
    return (args[0],) * length if len(args) == 2 and args[1] is ... else args


def matcher(kind: Any) -> Callable[[Any], bool]:
    """A cheap test whether a value is of `kind`: by its outermost class, or among its literals."""
    literals = _literals(kind)
    if literals is not None:
        return lambda value: any(value == one and type(value) is type(one) for one in literals)
    classes = _classes(kind)
    if classes is None:
        return lambda value: True
    return lambda value: isinstance(value, classes)


def _literals(kind: Any) -> tuple[Any, ...] | None:
    """The values of a `Literal`, or of a union of literals and None."""
    kind = _plain(kind)
    if get_origin(kind) is Literal:
        return get_args(kind)
    if is_union(kind):
        parts = [(None,) if one is type(None) else _literals(one) for one in get_args(kind)]
        if all(part is not None for part in parts):
            return tuple(value for part in parts if part for value in part)
    return None


def _classes(kind: Any) -> tuple[type, ...] | None:
    kind = _plain(kind)
    if is_union(kind):
        parts = [_classes(arg) for arg in get_args(kind)]
        return None if None in parts else tuple(c for part in parts if part for c in part)
    if get_origin(kind) is Literal:
        return tuple({type(value) for value in get_args(kind)})
    found = get_origin(kind) or kind
    if found is Any or not isinstance(found, type) or getattr(found, "_is_protocol", False):
        return None
    if typing.is_typeddict(found):
        return (Mapping,)
    return (found, *(narrow for narrow, wide in _WIDER.items() if found in wide))


def merge(kinds: Iterable[Any]) -> Any:
    """The type of a channel that is one of `kinds`."""
    unique: list[Any] = []
    for kind in kinds:
        if not any(kind == other for other in unique):
            unique.append(kind)
    return Union[tuple(unique)] if unique else Any  # noqa: UP007 - the members are values


def _plain(kind: Any) -> Any:
    if kind is None:
        return type(None)
    if get_origin(kind) is typing.Annotated:
        return _plain(get_args(kind)[0])
    if isinstance(kind, TypeVar):
        return Any
    if isinstance(kind, typing.NewType):
        return _plain(kind.__supertype__)
    return kind


def is_union(kind: Any) -> bool:
    """Whether the type is `A | B`."""
    return get_origin(kind) in (Union, types.UnionType)
