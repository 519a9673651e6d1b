"""The JSON Schema of pipeline files, for completion and checks in editors."""

from __future__ import annotations

import inspect
from typing import Any

from rag.flow.registry import Registry
from rag.flow.run.policy import Budget

_PARAMETER = {"type": "string", "pattern": r"\$\{\w+(:[^}]*)?\}"}
_STEP: dict[str, Any] = {"$ref": "#/$defs/step"}
_NODE: dict[str, Any] = {"$ref": "#/$defs/node"}
_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_RENAMES: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_BRANCHES: dict[str, Any] = {"type": "object", "minProperties": 1, "additionalProperties": _NODE}


def schema(registry: Registry | None = None) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a pipeline file with these operators.

    Args:
        registry: The operators; default: all that are installed.
    """
    registry = registry or Registry()
    definitions: dict[str, Any] = {}
    operators = []
    for name in registry:
        operators.append({"$ref": f"#/$defs/operator.{name}"})
        definitions[f"operator.{name}"] = _operator(name, registry[name], definitions)
    dotted = {"type": "string", "pattern": ":"}
    other = _object({"use": dotted}, ["use"], closed=False)
    definitions["step"] = {"anyOf": [*operators, other]}
    definitions["node"] = {
        "anyOf": [_STEP, *_constructs(), {"type": "array", "items": _NODE}],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pipeline",
        **_object(_flow(), ["steps"]),
        "$defs": definitions,
    }


def _flow() -> dict[str, Any]:
    return {
        "name": _TEXT,
        "description": _TEXT,
        "inputs": {**_RENAMES, "description": "input: its type, such as list[str]"},
        "outputs": {"anyOf": [_TEXT, _TEXTS]},
        "resources": {"type": "object"},
        "budget": _with_parameters(Budget.model_json_schema()),
        "steps": _NODE,
    }


def _constructs() -> list[dict[str, Any]]:
    joined = {"join": _NODE, "on_error": {"enum": ["fail", "skip"]}, "name": _TEXT}
    count = {"anyOf": [{"type": "integer", "minimum": 1}, _PARAMETER]}
    loop = {"max_turns": count, "until": _TEXT, "carry": _TEXTS, "history": _TEXT}
    route = {"by": {"anyOf": [_TEXT, _NODE]}, "cases": _BRANCHES, "default": _NODE}
    stop = {"message": _TEXT}
    stop |= {port: {"anyOf": [_TEXT, _TEXTS]} for port in ("show", "edit")}
    renamed = {"inputs": _RENAMES, "outputs": _RENAMES, "name": _TEXT}
    over = _object({"over": _TEXT, "as": _TEXT, "concurrency": count}, ["over", "as"])
    return [
        _object({"steps": _NODE}, ["steps"]),
        _object({"parallel": _BRANCHES, **joined}, ["parallel"]),
        _object({"map": over, "body": _NODE, **joined}, ["map", "body"]),
        _object({"route": _object(route, ["by", "cases"]), "name": _TEXT}, ["route"]),
        _object(
            {"loop": _object(loop, ["max_turns"]), "body": _NODE, "name": _TEXT}, ["loop", "body"]
        ),
        _object({"flow": {"anyOf": [_TEXT, _object(_flow(), ["steps"])]}, **renamed}, ["flow"]),
        _object(
            {"recurse": _object({"max_depth": count}, ["max_depth"]), "base": _NODE, **renamed},
            ["recurse", "base"],
        ),
        _object({"interrupt": _object(stop, ["message"]), "name": _TEXT}, ["interrupt"]),
    ]


def _object(properties: dict[str, Any], required: list[str], closed: bool = True) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "required": required}
    return {**made, "additionalProperties": False} if closed else made


def _operator(name: str, kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    made = _with_parameters(kind.model_json_schema(ref_template="#/$defs/{model}"))
    for model, inner in made.pop("$defs", {}).items():
        definitions.setdefault(model, _with_parameters(inner) if "properties" in inner else inner)
    # pydantic describes the fallback as an operator of the base class; here it is any step.
    properties = {**made["properties"], "fallback": _STEP, "cache": _CACHE}
    return {
        "type": "object",
        "description": inspect.getdoc(kind) or "",
        "properties": {"use": {"const": name}, **properties},
        "required": ["use", *made.get("required", [])],
        "additionalProperties": False,
    }


_CACHE = {
    "anyOf": [{"type": "boolean"}, _object({"ttl": {"type": "number", "exclusiveMinimum": 0}}, [])]
}


def _with_parameters(made: dict[str, Any]) -> dict[str, Any]:
    """A model's schema in which every field may be a parameter instead."""
    fields = {name: {"anyOf": [one, _PARAMETER]} for name, one in made["properties"].items()}
    return {**made, "properties": fields}
