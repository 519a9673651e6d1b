"""The JSON Schema of pipeline files, for completion and checks in editors."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel

from rag.flow.node import Construct, Part
from rag.flow.policies import Budget, Cache, Retry
from rag.flow.registry import Registry
from rag.flow.resources import Resource, kind_of, well_known
from rag.flow.yaml.constructs import CONSTRUCTS
from rag.flow.yaml.sections import section_schemas

_PARAMETER = {"type": "string", "pattern": r"\$\{(env:)?\w+(:[^}]*)?\}"}
_NODE: dict[str, Any] = {"$ref": "#/$defs/node"}
_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_RENAMES: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_BRANCHES: dict[str, Any] = {"type": "object", "minProperties": 1, "additionalProperties": _NODE}
_ANYBODYS: dict[str, Any] = {"^x-": {}}


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
    guards = _policies(definitions)
    dotted = _object({"use": {"type": "string", "pattern": ":"}}, ["use"])
    named = {"type": "string", "not": {"enum": list(registry)}}
    part = {**_object({"use": named, **guards}, ["use"]), "description": "a part of this file"}
    definitions["step"] = {"anyOf": [*operators, {**dotted, "additionalProperties": True}, part]}
    constructs = [_construct(kind, guards) for kind in CONSTRUCTS.values()]
    flow = _flow(definitions)
    definitions["flow"] = flow
    inner = {"anyOf": [_TEXT, {"$ref": "#/$defs/flow"}]}
    renamed = {"inputs": _RENAMES, "outputs": _RENAMES, "name": _TEXT}
    definitions["node"] = {
        "anyOf": [
            {"$ref": "#/$defs/step"},
            {"type": "array", "items": _NODE},
            _object({"steps": _NODE, **guards}, ["steps"]),
            _object({"flow": inner, **renamed, **guards}, ["flow"]),
            *constructs,
        ]
    }
    whole = {**flow, "properties": {**flow["properties"], **section_schemas(_NODE)}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pipeline",
        **whole,
        "$defs": definitions,
    }


def _flow(definitions: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "name": _TEXT,
        "description": _TEXT,
        "inputs": {
            **_RENAMES,
            "description": "input: its type, such as list[str]; with a default: int = 20",
        },
        "outputs": {"anyOf": [_TEXT, _TEXTS]},
        "resources": _resources(definitions),
        "budget": _model(Budget, definitions),
        "parts": {
            "type": "object",
            "additionalProperties": _NODE,
            "description": "name: steps that are used by that name: {use: name}",
        },
        "steps": _NODE,
    }
    return _object(fields, ["steps"])


def _resources(definitions: dict[str, Any]) -> dict[str, Any]:
    """Well-known names with what may be said of them; others are bound by steps."""
    known: dict[str, Any] = {}
    for name in well_known():
        kind = kind_of(name)
        if kind is not None:
            known[name] = _resource(kind, definitions)
    return {"type": "object", "properties": known, "additionalProperties": True}


def _resource(kind: type[Resource], definitions: dict[str, Any]) -> dict[str, Any]:
    described = {"description": (inspect.getdoc(kind) or "").split("\n")[0]}
    if kind.Spec is None:
        return described
    options = [_model(kind.Spec, definitions)]
    if kind.shorthand is not None:
        options.append(_TEXT)
    if kind.foreign is not None:
        use = _object({"use": {**_TEXT, "description": f"a {kind.foreign}"}}, ["use"])
        options.append({**use, "additionalProperties": True})
    return {**described, "anyOf": options}


def _policies(definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "timeout": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _PARAMETER]},
        "retry": _model(Retry, definitions),
        "fallback": _NODE,
        "cache": {"anyOf": [{"type": "boolean"}, _model(Cache, definitions)]},
        "concurrency": {"anyOf": [{"type": "integer", "minimum": 1}, _PARAMETER]},
        "budget": _model(Budget, definitions),
    }


def _construct(kind: type[Construct], guards: dict[str, Any]) -> dict[str, Any]:
    parts, required = kind.parts(), kind.required()
    head = [part for part in parts.values() if part.where == "head"]
    inside = {part.key or field: part for field, part in parts.items() if part.where == "inside"}
    beside = {part.key or field: part for field, part in parts.items() if part.where == "beside"}
    needed = [part.key or field for field, part in parts.items() if field in required]
    value: dict[str, Any] = _BRANCHES
    if not head:
        properties = {key: _part(part) for key, part in inside.items()}
        value = _object(properties, [key for key in needed if key in inside])
    properties = {
        kind.yaml_key: value,
        **{key: _part(part) for key, part in beside.items()},
        **guards,
    }
    made = _object(properties, [kind.yaml_key, *(key for key in needed if key in beside)])
    return {**made, "description": (inspect.getdoc(kind) or "").split("\n")[0]}


def _part(part: Part) -> dict[str, Any]:
    match part.holds:
        case "node" | "operator":
            return _NODE
        case "nodes":
            return _BRANCHES
        case "choice":
            return {"anyOf": [_TEXT, _NODE]}
    return {"anyOf": [dict(part.schema), _PARAMETER]} if part.schema else {}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": _ANYBODYS,
        "required": required,
        "additionalProperties": False,
    }


def _operator(name: str, kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    made = _model(kind, definitions)
    made.pop("patternProperties", None)
    # The fallback is any node.
    policies = {
        "fallback": _NODE,
        "cache": {"anyOf": [{"type": "boolean"}, made["properties"]["cache"]]},
    }
    made.pop("title", None)
    return {
        **_object({"use": {"const": name}, **made["properties"], **policies}, []),
        "description": inspect.getdoc(kind) or "",
        "required": ["use", *made.get("required", [])],
    }


def _model(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema in which every field may be a parameter instead."""
    made = model.model_json_schema(ref_template="#/$defs/{model}")
    for name, inner in made.pop("$defs", {}).items():
        definitions.setdefault(name, _with_parameters(inner))
    return _with_parameters(made)


def _with_parameters(made: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in made:
        return made
    fields = {name: {"anyOf": [one, _PARAMETER]} for name, one in made["properties"].items()}
    return {**made, "properties": fields}
