"""Requests that do not fit their schema: what is wrong with them, and how to mend it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError

from rag.names import suggestion
from rag.serve.errors import Problem


def invalid_request(error: RequestValidationError, fields: Collection[str]) -> Problem:
    """The first thing that is wrong with a request, as a problem.

    Args:
        error: What pydantic found.
        fields: The fields of the request's body.
    """
    found = error.errors()
    first = found[0]
    where = ".".join(str(part) for part in first["loc"])
    what = str(first["msg"])
    if len(found) > 1:
        what += f" (and {len(found) - 1} more)"
    return Problem(422, "invalid_request", what, where=where, fix=_fix(first, fields))


def _fix(detail: Mapping[str, Any], fields: Collection[str]) -> str:
    kind, place = detail["type"], detail["loc"]
    name = str(place[-1])
    if kind == "missing":
        if place == ("body",):
            return "send a body: a JSON object, with Content-Type: application/json"
        return f"add {name!r}"
    if kind == "extra_forbidden":
        return (
            suggestion(name, fields, label="fields") if len(place) == 2 else f"leave out {name!r}"
        )
    if kind == "json_invalid":
        return "send valid JSON"
    if kind in ("model_attributes_type", "dict_type", "model_type"):
        return "send a JSON object, with Content-Type: application/json"
    message = str(detail["msg"])
    for head in ("Input should be ", "Value should be ", "Value should have "):
        if message.startswith(head):
            return f"send {_article(message.removeprefix(head))}"
    rule = message.partition(" should ")[2]
    return f"change {name!r}: it must {rule}" if rule else f"change {name!r}"


def _article(rest: str) -> str:
    return rest if rest.startswith(("a ", "an ", "'")) else f"a value {rest}"
