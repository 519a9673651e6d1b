"""Any value as plain JSON data, for people and for other programs to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def document(value: Any) -> dict[str, Any]:
    """The one JSON form of a LangChain `Document`: `id`, `text`, `metadata`."""
    return {"id": value.id, "text": value.page_content, "metadata": plain(value.metadata)}


def plain(value: Any) -> Any:
    """`value` as `json.dumps` takes it; what JSON does not know becomes text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=str)
    if hasattr(value, "page_content"):
        return document(value)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if hasattr(value, "tolist"):  # NumPy's and torch's arrays and numbers
        return plain(value.tolist())
    return str(value)


def summary(value: Any) -> str:
    """A value on one line: text and numbers as they are, of all else how much there is."""
    if isinstance(value, str | int | float | bool | None):
        return str(value)
    return f"({len(value)} items)" if hasattr(value, "__len__") else type(value).__name__
