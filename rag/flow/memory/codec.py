"""Channel values as JSON and back, without ever importing or running what the JSON names.

What JSON knows stays as it is. Other values become `{"$": kind, "v": ...}`: built-in ones, dates,
paths, numbers of numpy, LangChain's messages, and objects of the classes that the channel's
declared type mentions (pydantic models, dataclasses, named tuples, enums, and classes derived from
them). An object is written field by field, so that what a model excludes, renames or computes
when it is serialised makes no difference. Documents are handed to the caller, who stores each once.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from rag.errors import InputError
from rag.flow.types import is_union, show

if TYPE_CHECKING:
    from langchain_core.documents import Document

Store = Callable[["Document"], Any]
"""Stores a document; returns what stands for it in the JSON."""

Find = Callable[[Any], "Document"]
"""The document for what `Store` returned."""

_TEXTUAL: dict[str, tuple[type, Callable[[str], Any]]] = {
    "datetime": (datetime.datetime, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.fromisoformat),
    "decimal": (Decimal, Decimal),
    "uuid": (uuid.UUID, uuid.UUID),
    "path": (PurePath, Path),
    "complex": (complex, complex),
}
"""Tag to class, and what makes a value of its text."""

_BUILT_IN = (str, int, float, bool, type(None), list, dict, tuple, set, frozenset, bytes)


def encode(value: Any, kind: Any, store: Store) -> Any:
    """What `json.dumps` takes, for a value of a channel of type `kind`.

    Raises:
        InputError: The value holds something that could not be restored.
    """
    return _Encoder(kind, store).value(value)


def decode(data: Any, kind: Any, find: Find) -> Any:
    """The value that `encode` was given.

    Raises:
        InputError: `data` does not fit `kind`: it was written for other types.
    """
    return _Decoder(kind, find).value(data)


def document_json(document: Document) -> dict[str, Any]:
    """A document as JSON that `document_from` restores, whatever its metadata hold."""
    return {
        "id": document.id,
        "text": document.page_content,
        "metadata": encode(document.metadata, Any, _no_nesting),
    }


def document_from(data: Mapping[str, Any]) -> Document:
    """The document that `document_json` was given."""
    from langchain_core.documents import Document

    metadata = decode(data["metadata"], Any, lambda _: Document(page_content=""))
    return Document(id=data["id"], page_content=data["text"], metadata=metadata)


def unstorable(kind: Any) -> Any:
    """The part of a type whose values cannot be restored; None if all can."""
    if is_union(kind) or get_origin(kind) is not None:
        parts = [part for part in get_args(kind) if isinstance(part, type) or get_args(part)]
        if get_origin(kind) is typing.Literal:
            return None
        return next((found for part in parts if (found := unstorable(part)) is not None), None)
    if not isinstance(kind, type) or kind is object or typing.is_typeddict(kind):
        return None
    if getattr(kind, "_is_protocol", False) or issubclass(kind, (*_BUILT_IN, Enum, BaseModel)):
        return None
    if dataclasses.is_dataclass(kind) or any(issubclass(kind, c) for c, _ in _TEXTUAL.values()):
        return None
    if kind is datetime.timedelta or kind.__module__.split(".")[0] == "numpy":
        return None
    return None if kind.__module__.startswith(("collections.abc", "typing")) else kind


def _no_nesting(document: Document) -> Any:
    raise InputError(f"the metadata of a document hold a document ({document.id})")


class _Encoder:
    def __init__(self, kind: Any, store: Store) -> None:
        self.kind, self.store = kind, store
        self._classes: Mapping[str, type] | None = None

    def value(self, value: Any) -> Any:  # noqa: C901 - one case per kind of value
        match value:
            case None | bool():
                return value
            case str() | int() | float() if type(value) in (str, int, float):
                return value
            case list() if type(value) is list:
                if value and all(_is_document(item) for item in value):
                    return _tagged("documents", [self.store(item) for item in value])
                return [self.value(item) for item in value]
            case dict() if type(value) is dict:
                if "$" not in value and all(type(key) is str for key in value):
                    return {key: self.value(item) for key, item in value.items()}
                return _tagged("dict", [[self.value(k), self.value(v)] for k, v in value.items()])
            case tuple() if type(value) is tuple:
                return _tagged("tuple", [self.value(item) for item in value])
            case set() | frozenset() if type(value) in (set, frozenset):
                items = sorted((self.value(item) for item in value), key=repr)
                return _tagged(type(value).__name__, items)
            case bytes():
                return _tagged("bytes", base64.b64encode(value).decode())
            case datetime.timedelta():
                return _tagged("timedelta", [value.days, value.seconds, value.microseconds])
        if _is_document(value):
            return _tagged("document", self.store(value))
        name = _class_name(type(value))
        if name in self._allowed():
            return self._object(name, value)
        return self._other(value)

    def _allowed(self) -> Mapping[str, type]:
        if self._classes is None:
            self._classes = classes(self.kind)
        return self._classes

    def _object(self, name: str, value: Any) -> Any:
        if isinstance(value, Enum):
            return _tagged(name, value.name)
        if isinstance(value, BaseModel):
            fields = {key: self.value(item) for key, item in value.__dict__.items()}
            extra = {key: self.value(v) for key, v in (value.__pydantic_extra__ or {}).items()}
            hidden = {key: self.value(v) for key, v in (value.__pydantic_private__ or {}).items()}
            return _tagged(name, [fields, extra, hidden, sorted(value.model_fields_set)])
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return _tagged(name, {key: self.value(getattr(value, key)) for key in names})
        if isinstance(value, tuple):
            return _tagged(name, [self.value(item) for item in value])
        return self._other(value)

    def _other(self, value: Any) -> Any:
        if isinstance(value, str | int | float) and not isinstance(value, Enum):
            for base in (str, int, float):
                if isinstance(value, base) and base(value) == value:
                    return base(value)
        if isinstance(value, Enum) and isinstance(value, str | int):
            return self.value(value.value)  # equal to its value
        for tag, (kind, _) in _TEXTUAL.items():
            if isinstance(value, kind):
                text = value.isoformat() if hasattr(value, "isoformat") else str(value)
                return _tagged(tag, text)
        if type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
            if value.ndim == 0:
                return self.value(value.item())
            data = base64.b64encode(value.tobytes()).decode()
            return _tagged("array", [value.dtype.str, list(value.shape), data])
        if _is_message(value):
            from langchain_core.messages import message_to_dict

            return _tagged("message", self.value(message_to_dict(value)))
        raise InputError(
            f"{show(type(value))} in a channel of type {show(self.kind)} cannot be stored",
            fix="declare the channel's type with that class (a pydantic model or a dataclass), "
            "or write documents, text, numbers, lists and mappings",
        )


class _Decoder:
    def __init__(self, kind: Any, find: Find) -> None:
        self.kind, self.find = kind, find
        self._classes: Mapping[str, type] | None = None

    def value(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.value(item) for item in data]
        if not isinstance(data, dict):
            return data
        if "$" not in data:
            return {key: self.value(item) for key, item in data.items()}
        return self._tagged(data["$"], data["v"])

    def _tagged(self, tag: str, inner: Any) -> Any:  # noqa: C901 - one case per tag
        match tag:
            case "dict":
                return {self.value(key): self.value(item) for key, item in inner}
            case "tuple" | "set" | "frozenset":
                kinds = {"tuple": tuple, "set": set, "frozenset": frozenset}
                return kinds[tag](self.value(item) for item in inner)
            case "bytes":
                return base64.b64decode(inner)
            case "timedelta":
                return datetime.timedelta(*inner)
            case "document":
                return self.find(inner)
            case "documents":
                return [self.find(item) for item in inner]
            case "array":
                import numpy as np

                kind, shape, text = inner
                return np.frombuffer(base64.b64decode(text), kind).reshape(shape).copy()
            case "message":
                from langchain_core.messages import messages_from_dict

                return messages_from_dict([self.value(inner)])[0]
        if tag in _TEXTUAL:
            return _TEXTUAL[tag][1](inner)
        if self._classes is None:
            self._classes = classes(self.kind)
        found = self._classes.get(tag)
        if found is None:
            what = f"a stored value is a {tag}, the channel is {show(self.kind)} now"
            raise InputError(what)
        try:
            return self._object(found, inner)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"a stored value does not fit {tag}: {error}") from error

    def _object(self, kind: Any, inner: Any) -> Any:
        if issubclass(kind, Enum):
            return kind[inner]
        if issubclass(kind, tuple):
            return kind(*(self.value(item) for item in inner))
        made = object.__new__(kind)
        if issubclass(kind, BaseModel):
            fields, extra, hidden, given = inner
            known = set(kind.model_fields)
            if set(fields) - known or known - set(fields):
                raise ValueError("it has other fields")
            values = {key: self.value(item) for key, item in fields.items()}
            object.__setattr__(made, "__dict__", values)
            more = {key: self.value(item) for key, item in extra.items()}
            allows = kind.model_config.get("extra") == "allow"
            object.__setattr__(made, "__pydantic_extra__", more if allows else None)
            private = {key: self.value(item) for key, item in hidden.items()}
            object.__setattr__(made, "__pydantic_private__", private or None)
            object.__setattr__(made, "__pydantic_fields_set__", set(given))
            return made
        names = {field.name for field in dataclasses.fields(kind)}
        if names != set(inner):
            raise ValueError("it has other fields")
        for key, item in inner.items():
            object.__setattr__(made, key, self.value(item))
        return made


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {"$": tag, "v": value}


def _is_document(value: Any) -> bool:
    """Whether it is a LangChain `Document` itself: a class derived from it has more fields."""
    kind = type(value)
    return kind.__name__ == "Document" and kind.__module__.startswith("langchain_core.")


def _is_message(value: Any) -> bool:
    return any(
        base.__name__ == "BaseMessage" and base.__module__.startswith("langchain_core.")
        for base in type(value).__mro__
    )


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def classes(kind: Any) -> dict[str, type]:
    """Name to class, of the classes that a type mentions, also in fields, and those derived."""
    found: dict[str, type] = {}
    for one in _mentioned(kind, set()):
        found.setdefault(_class_name(one), one)
    return found


def _mentioned(kind: Any, seen: set[Any]) -> Iterator[type]:
    for part in get_args(kind):
        yield from _mentioned(part, seen)
    if not isinstance(kind, type) or kind.__module__ in ("builtins", "typing", "collections.abc"):
        return
    if kind in seen or _name_is_document(kind):
        return
    seen.add(kind)
    yield kind
    for hint in _field_types(kind):
        yield from _mentioned(hint, seen)
    below: list[type] = type.__subclasses__(kind)
    for derived in below:
        yield from _mentioned(derived, seen)


def _name_is_document(kind: type) -> bool:
    return (
        kind.__name__ == "Document"
        and kind.__module__.startswith("langchain_core.")
        and not (type.__subclasses__(kind))
    )


def _field_types(kind: type) -> list[Any]:
    if issubclass(kind, BaseModel):
        return [field.annotation for field in kind.model_fields.values()]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        try:
            return list(typing.get_type_hints(kind).values())
        except NameError:
            return []
    return []
