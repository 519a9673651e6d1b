"""Channel values as JSON and back, without ever importing or running what the JSON names.

What JSON knows stays as it is; other built-in values, and objects of the classes that the
channel's declared type mentions, become `{"$": kind, "v": ...}`. Documents are handed to the
caller, who keeps them once.
"""

from __future__ import annotations

import base64
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from rag.errors import InputError
from rag.flow.types import show

if TYPE_CHECKING:
    from langchain_core.documents import Document

Keep = Callable[["Document"], Any]
"""Keeps a document; returns what stands for it in the JSON."""

Find = Callable[[Any], "Document"]
"""The document for what `Keep` returned."""


def encode(value: Any, kind: Any, keep: Keep) -> Any:
    """What `json.dumps` takes, for a value of a channel of type `kind`.

    Raises:
        InputError: The value holds something that could not be restored.
    """
    return _Encoder(kind, keep).value(value)


def decode(data: Any, kind: Any, find: Find) -> Any:
    """The value that `encode` was given.

    Raises:
        InputError: `data` does not fit `kind`: it was written for other types.
    """
    return _Decoder(kind, find).value(data)


def document_json(document: Document) -> dict[str, Any]:
    """A document as JSON, whatever its metadata hold."""
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


def _no_nesting(document: Document) -> Any:
    raise InputError(f"the metadata of a document hold a document ({document.id})")


class _Encoder:
    def __init__(self, kind: Any, keep: Keep) -> None:
        self.kind, self.keep = kind, keep

    def value(self, value: Any) -> Any:
        match value:
            case None | bool():
                return value
            case str() | int() | float() if type(value) in (str, int, float):
                return value
            case list() if type(value) is list:
                if value and all(_is_document(item) for item in value):
                    return _tagged("documents", [self.keep(item) for item in value])
                return [self.value(item) for item in value]
            case dict() if type(value) is dict:
                if "$" not in value and all(type(key) is str for key in value):
                    return {key: self.value(item) for key, item in value.items()}
                return _tagged("dict", [[self.value(k), self.value(v)] for k, v in value.items()])
            case tuple() if type(value) is tuple:
                return _tagged("tuple", [self.value(item) for item in value])
            case set() | frozenset():
                items = sorted((self.value(item) for item in value), key=repr)
                return _tagged(type(value).__name__, items)
            case bytes():
                return _tagged("bytes", base64.b64encode(value).decode())
        if _is_document(value):
            return _tagged("document", self.keep(value))
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            return self.value(value.item())  # a number of numpy's
        return self._object(value)

    def _object(self, value: Any) -> Any:
        name = _class_name(type(value))
        if name in classes(self.kind):
            try:
                data = _adapter(type(value)).dump_python(value, mode="json")
            except (PydanticSchemaGenerationError, ValueError, TypeError):
                pass
            else:
                return _tagged(name, data)
        raise InputError(
            f"a value of {show(type(value))} in a channel of type {show(self.kind)} cannot be kept",
            fix="declare the channel's type with that class (a pydantic model or a dataclass), "
            "or write documents, text, numbers, lists and mappings",
        )


class _Decoder:
    def __init__(self, kind: Any, find: Find) -> None:
        self.kind, self.find = kind, find

    def value(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.value(item) for item in data]
        if not isinstance(data, dict):
            return data
        if "$" not in data:
            return {key: self.value(item) for key, item in data.items()}
        tag, inner = data["$"], data["v"]
        match tag:
            case "dict":
                return {self.value(key): self.value(item) for key, item in inner}
            case "tuple" | "set" | "frozenset":
                kinds = {"tuple": tuple, "set": set, "frozenset": frozenset}
                return kinds[tag](self.value(item) for item in inner)
            case "bytes":
                return base64.b64decode(inner)
            case "document":
                return self.find(inner)
            case "documents":
                return [self.find(item) for item in inner]
        found = classes(self.kind).get(tag)
        try:
            if found is not None:
                return _adapter(found).validate_python(inner)
        except ValidationError as error:
            raise InputError(f"a kept value does not fit {tag}: {error}") from error
        raise InputError(f"a kept value is a {tag}, the channel is {show(self.kind)} now")


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {"$": tag, "v": value}


def _is_document(value: Any) -> bool:
    return any(base.__name__ == "Document" for base in type(value).__mro__) and hasattr(
        value, "page_content"
    )


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def classes(kind: Any) -> dict[str, type]:
    """Name to class, of the classes that a type mentions and those derived from them."""
    return {_class_name(found): found for found in _mentioned(kind)}


def _mentioned(kind: Any) -> Iterator[type]:
    for part in typing.get_args(kind):
        yield from _mentioned(part)
    if isinstance(kind, type) and kind is not object and kind.__module__ != "builtins":
        yield kind
        if issubclass(kind, BaseModel) or kind.__subclasses__():
            below: list[type] = kind.__subclasses__()
            for derived in below:
                yield from _mentioned(derived)
